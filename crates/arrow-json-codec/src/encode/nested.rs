//! Lists, maps and dictionaries, ready to be written.

use arrow::array::{FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait};

use super::column::{BoxWrite, Column, Write, enclose};
use crate::error::EncodeError;

pub(crate) struct List<'a, O: OffsetSizeTrait> {
    pub(crate) array: &'a GenericListArray<O>,
    pub(crate) items: Column<'a>,
}

impl<O: OffsetSizeTrait> Write for List<'_, O> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.items
            .write_elements(range(self.array.value_offsets(), row), out)
    }
}

pub(crate) struct FixedSizeList<'a> {
    pub(crate) array: &'a FixedSizeListArray,
    pub(crate) items: Column<'a>,
}

impl Write for FixedSizeList<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let size = usize::try_from(self.array.value_length()).unwrap_or(0);
        self.items.write_elements(row * size..(row + 1) * size, out)
    }
}

pub(crate) struct Map<'a> {
    pub(crate) array: &'a MapArray,
    pub(crate) keys: Column<'a>,
    pub(crate) values: Column<'a>,
}

impl Write for Map<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        for (index, entry) in range(self.array.value_offsets(), row).enumerate() {
            out.push(b',');
            self.keys.write(entry, out)?;
            out.push(b':');
            self.values
                .write(entry, out)
                .map_err(|error| error.in_element(index))?;
        }
        enclose(out, start, *b"{}");
        Ok(())
    }
}

pub(crate) struct Dictionary<'a> {
    pub(crate) keys: Vec<usize>,
    pub(crate) values: BoxWrite<'a>,
}

impl Write for Dictionary<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // The column writes NULLs itself: neither a NULL key nor a NULL value comes here.
        let key = self.keys.get(row).copied().unwrap_or_default();
        self.values.write(key, out)
    }
}

/// The rows of a list's or map's child that belong to one of its rows.
fn range<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> std::ops::Range<usize> {
    match offsets.get(row..row + 2) {
        Some([start, end]) => start.as_usize()..end.as_usize(),
        _ => 0..0,
    }
}
