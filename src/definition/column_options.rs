//! Applies the options `kafka.column.<name>.*` to columns, and reads them back from columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::error::{Error, Result};
use crate::json::TextEncoding;
use crate::options::ColumnOptions;
use crate::sql_type::sql_type;

/// The option that sets how the text of a column is stored in JSON.
pub(crate) fn encoding_key(path: &str) -> String {
    format!("kafka.column.{path}.encoding")
}

/// Gives a column, or a field of a column, the encoding that its options name.
///
/// `path` is in lower case, as all option keys are. It starts with the name of a column. `.name`
/// then selects a field of a STRUCT, and `[]` selects the items of a list or the values of a MAP.
/// `is_json` says which columns come from JSON.
///
/// # Errors
/// The table's own options name no column, several columns, or a column that is not text.
pub(crate) fn apply(
    fields: &mut [FieldRef],
    path: &str,
    options: &ColumnOptions,
    is_json: impl Fn(&str) -> bool,
) -> Result<()> {
    let Some(encoding) = options.encoding else {
        return Ok(());
    };
    let refused = |reason: String| match options.is_own {
        true => Err(Error::InvalidOption {
            key: encoding_key(path),
            reason,
        }),
        // The option is a default that is also meant for other tables.
        false => Ok(()),
    };
    let found = fields.iter().enumerate().filter_map(|(place, field)| {
        let rest = after_name(field, path)?;
        let changed = changed(field, rest, encoding)?;
        Some((place, rest.is_empty(), changed))
    });
    let mut found: Vec<_> = found.collect();
    // A column whose own name looks like a path takes precedence.
    if found.iter().any(|(_, is_name, _)| *is_name) {
        found.retain(|(_, is_name, _)| *is_name);
    }
    let known = || {
        let names = fields.iter().map(|field| field.name().as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    match (found.pop(), found.is_empty()) {
        (None, _) => refused(format!("the table has no such column; it has {}", known())),
        (Some(_), false) => {
            refused("several columns have this name, differing only in case".to_owned())
        }
        (Some((place, _, changed)), true) => match (changed, fields.get_mut(place)) {
            (Ok(_), Some(field)) if !is_json(field.name()) => {
                refused("has no effect, since the column does not come from JSON".to_owned())
            }
            (Ok(changed), Some(field)) => {
                *field = Arc::new(changed);
                Ok(())
            }
            (Err(data_type), _) => refused(format!(
                "`{}` is an encoding of {}, and this is {}",
                encoding.name(),
                match encoding {
                    TextEncoding::Text => "VARCHAR, dates and times",
                    _ => "VARCHAR",
                },
                sql_type(&data_type)
            )),
            (Ok(_), None) => Ok(()),
        },
    }
}

/// The part of a path that follows the name of a field.
fn after_name<'a>(field: &Field, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(&field.name().to_ascii_lowercase())?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// The field with another encoding at the end of a path. `None` where the path leads nowhere. An
/// error with the type where the path leads to something that is not text.
fn changed(
    field: &Field,
    path: &str,
    encoding: TextEncoding,
) -> Option<std::result::Result<Field, DataType>> {
    let data_type = field.data_type();
    if path.is_empty() {
        return Some(match encoding.applies_to(data_type) {
            true => Ok(encoding.mark(field.clone())),
            false => Err(data_type.clone()),
        });
    }
    let inner = |inner: &FieldRef, path: &str| {
        let changed = changed(inner, path, encoding)?;
        Some(changed.map(Arc::new))
    };
    let changed = match data_type {
        DataType::Struct(fields) => struct_with(fields, path.strip_prefix('.')?, inner)?,
        DataType::List(item) => inner(item, path.strip_prefix("[]")?)?.map(DataType::List),
        DataType::LargeList(item) => {
            inner(item, path.strip_prefix("[]")?)?.map(DataType::LargeList)
        }
        DataType::FixedSizeList(item, size) => {
            let item = inner(item, path.strip_prefix("[]")?)?;
            item.map(|item| DataType::FixedSizeList(item, *size))
        }
        DataType::Map(entries, sorted) => {
            let path = path.strip_prefix("[]")?;
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, value] = fields.as_ref() else {
                return None;
            };
            inner(value, path)?.map(|value| {
                let fields = DataType::Struct(vec![Arc::clone(key), value].into());
                let entries = entries.as_ref().clone().with_data_type(fields);
                DataType::Map(Arc::new(entries), *sorted)
            })
        }
        _ => return None,
    };
    Some(changed.map(|data_type| field.clone().with_data_type(data_type)))
}

fn struct_with(
    fields: &Fields,
    path: &str,
    change: impl Fn(&FieldRef, &str) -> Option<std::result::Result<FieldRef, DataType>>,
) -> Option<std::result::Result<DataType, DataType>> {
    let (place, changed) = fields.iter().enumerate().find_map(|(place, field)| {
        let rest = after_name(field, path)?;
        Some((place, change(field, rest)?))
    })?;
    Some(changed.map(|changed| {
        let fields = fields
            .iter()
            .enumerate()
            .map(|(other, field)| Arc::clone(if other == place { &changed } else { field }));
        DataType::Struct(fields.collect())
    }))
}

/// The paths in a column whose text has another encoding than `text`.
pub(crate) fn encodings(field: &Field) -> Vec<(String, TextEncoding)> {
    let mut found = Vec::new();
    collect(field, field.name().to_ascii_lowercase(), &mut found);
    found
}

fn collect(field: &Field, path: String, found: &mut Vec<(String, TextEncoding)>) {
    match field.data_type() {
        DataType::Struct(fields) => {
            for field in fields {
                let path = format!("{path}.{}", field.name().to_ascii_lowercase());
                collect(field, path, found);
            }
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            collect(item, format!("{path}[]"), found);
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(fields) = entries.data_type()
                && let Some(value) = fields.get(1)
            {
                collect(value, format!("{path}[]"), found);
            }
        }
        _ => match TextEncoding::of(field) {
            TextEncoding::Text => {}
            encoding => found.push((path, encoding)),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn columns() -> Vec<FieldRef> {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let tags = DataType::new_list(DataType::Utf8, true);
        let address = vec![text("City"), Field::new("tags", tags, true)];
        let by_name = Field::new_map(
            "byName",
            "entries",
            Field::new("keys", DataType::Utf8, false),
            text("values"),
            false,
            true,
        );
        let fields = [
            text("_key"),
            text("Id"),
            Field::new("n", DataType::Int64, true),
            Field::new_struct("address", address, true),
            by_name,
            text("address.zip"),
            text("twice"),
            text("Twice"),
        ];
        fields.into_iter().map(Arc::new).collect()
    }

    fn applied(path: &str, is_own: bool) -> Result<Vec<(String, TextEncoding)>> {
        let mut fields = columns();
        let options = ColumnOptions {
            encoding: Some(TextEncoding::Json),
            is_own,
        };
        apply(&mut fields, path, &options, |name| name != "_key")?;
        assert!(
            fields
                .iter()
                .zip(columns())
                .all(|(new, old)| new.name() == old.name())
        );
        Ok(fields.iter().flat_map(|field| encodings(field)).collect())
    }

    #[test]
    fn columns_and_fields_of_columns_are_found_by_their_path() {
        for path in [
            "id",
            "address.city",
            "address.tags[]",
            "byname[]",
            "address.zip",
        ] {
            let expected = vec![(path.to_owned(), TextEncoding::Json)];
            assert_eq!(applied(path, true).unwrap(), expected);
        }
    }

    #[test]
    fn what_means_no_text_column_is_an_error_of_the_tables_own_options() {
        for (path, reason) in [
            ("ids", "the table has no such column; it has _key, Id, n, "),
            ("address.street", "the table has no such column"),
            ("address[]", "the table has no such column"),
            ("n", "`json` is an encoding of VARCHAR, and this is BIGINT"),
            (
                "address",
                "`json` is an encoding of VARCHAR, and this is STRUCT",
            ),
            ("twice", "several columns have this name"),
            (
                "_key",
                "has no effect, since the column does not come from JSON",
            ),
        ] {
            let error = applied(path, true).unwrap_err().to_string();
            assert!(error.contains(&encoding_key(path)), "{error}");
            assert!(error.contains(reason), "{error}");
            assert_eq!(applied(path, false).unwrap(), []);
        }
    }
}
