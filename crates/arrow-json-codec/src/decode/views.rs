//! A column of string views under construction.
//!
//! Views are made when strings come, from bytes at hand. To gather the strings
//! and let Arrow lay views over them takes a second run, with a check of text
//! that was checked before and a mispredicted branch for nearly every length.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, StringViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::error::ArrowError;

use super::column::{Column, take};
use super::indexed::IndexedDocument;
use crate::error::DecodeError;
use crate::text::scan::Scanner;

/// The length up to which a string is part of its view, in bytes.
const INLINE: usize = 12;

/// How many bytes one buffer holds: what any reader of Arrow can address.
const MAX_BUFFER: usize = i32::MAX as usize;

pub(crate) struct StringViewColumn {
    views: Vec<u128>,
    /// The strings that are not in their views.
    data: Vec<u8>,
    full: Vec<Buffer>,
    nulls: NullBufferBuilder,
}

impl StringViewColumn {
    pub(crate) fn new() -> Self {
        Self {
            views: Vec::new(),
            data: Vec::new(),
            full: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// Adds the text that is so long and at the start of these bytes.
    #[inline]
    fn append(&mut self, bytes: &[u8], length: usize) {
        let view = match bytes.first_chunk() {
            Some(chunk) if length <= INLINE => inline_view(*chunk, length),
            _ => self.append_apart(bytes.get(..length).unwrap_or_default()),
        };
        self.views.push(view);
        self.nulls.append_non_null();
    }

    fn append_apart(&mut self, text: &[u8]) -> u128 {
        let mut chunk = [0; 16];
        chunk
            .iter_mut()
            .zip(text)
            .for_each(|(to, from)| *to = *from);
        if text.len() <= INLINE {
            return inline_view(chunk, text.len());
        }
        if self.data.len() + text.len() > MAX_BUFFER && !self.data.is_empty() {
            self.full.push(take(&mut self.data).into());
        }
        let [prefix, ..] = parts(u128::from_le_bytes(chunk));
        let view = [text.len(), prefix, self.full.len(), self.data.len()];
        self.data.extend_from_slice(text);
        let parts = view.iter().rev();
        parts.fold(0, |view, part| view << 32 | *part as u128)
    }
}

impl Column for StringViewColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let text = value.text().unwrap_or(Cow::Borrowed(value.raw()));
        self.append(text.as_bytes(), text.len());
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let Some(end) = document.string(at) else {
            return self.decode_checked_at(document, at);
        };
        self.append(document.rest(at + 1)?, end - at - 2);
        Some(end)
    }

    fn append_null(&mut self) {
        self.views.push(0);
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        let removed = self.views.drain(len.min(self.views.len())..);
        let mut apart = removed.map(parts).filter(|[length, ..]| *length > INLINE);
        if let Some([_, _, buffer, offset]) = apart.next()
            && buffer == self.full.len()
        {
            self.data.truncate(offset);
        }
        drop(apart);
        self.nulls.truncate(len);
    }

    #[allow(unsafe_code)]
    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let views = ScalarBuffer::from(take(&mut self.views));
        let mut buffers = std::mem::take(&mut self.full);
        buffers.push(take(&mut self.data).into());
        let nulls = self.nulls.finish();
        debug_assert!(
            StringViewArray::try_new(views.clone(), buffers.clone(), nulls.clone()).is_ok()
        );
        // SAFETY: `append` makes all views. It gets text, or bytes between two quotes
        // of a document that is known to be UTF-8, and puts what is not in a view
        // into the buffer at the offset that the view says; `truncate` takes nothing
        // away that a view which is left points to.
        let array = unsafe { StringViewArray::new_unchecked(views, buffers, nulls) };
        Ok(Arc::new(array))
    }
}

/// The parts of a view: length, prefix, buffer and offset.
fn parts(view: u128) -> [usize; 4] {
    [0, 32, 64, 96].map(|bits| (view >> bits) as u32 as usize)
}

#[inline]
fn inline_view(chunk: [u8; 16], length: usize) -> u128 {
    let text = u128::from_le_bytes(chunk) << 32;
    text & u128::MAX >> (8 * (INLINE - length)) | length as u128
}
