//! Applies the options `kafka.column.<name>.*` to columns, and reads them back from columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use arrow_json_codec::{is_date_or_time, number_unit, with_days, with_unit};

use crate::error::{Error, Result};
use crate::json::TextEncoding;
use crate::options::{ColumnOptions, ColumnUnit};
use crate::sql_type::sql_type;

/// What an option says of a column, or of a field of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Encoding(TextEncoding),
    Unit(ColumnUnit),
}

impl Form {
    /// The option that says this of a path.
    fn key(self, path: &str) -> String {
        match self {
            Form::Encoding(_) => format!("kafka.column.{path}.encoding"),
            Form::Unit(_) => format!("kafka.column.{path}.unit"),
        }
    }

    /// The value of the option.
    fn name(self) -> &'static str {
        match self {
            Form::Encoding(encoding) => encoding.name(),
            Form::Unit(unit) => unit.name(),
        }
    }

    /// The field in this form; `None` if its type does not have it.
    fn of(self, field: &Field) -> Option<Field> {
        match self {
            Form::Encoding(encoding) => encoding
                .applies_to(field.data_type())
                .then(|| encoding.mark(field.clone())),
            Form::Unit(ColumnUnit::Days) => {
                holds(field, |data_type| *data_type == DataType::Date32).then(|| with_days(field))
            }
            Form::Unit(ColumnUnit::Time(unit)) => {
                holds(field, is_date_or_time).then(|| with_unit(field, unit))
            }
        }
    }

    /// The types that have this form, for messages.
    fn types(self) -> &'static str {
        match self {
            Form::Encoding(TextEncoding::Text) => "an encoding of VARCHAR, dates and times",
            Form::Encoding(TextEncoding::Base64 | TextEncoding::Hex) => "an encoding of BYTEA",
            Form::Encoding(TextEncoding::Base64Decimal) => "an encoding of DECIMAL",
            Form::Encoding(_) => "an encoding of VARCHAR",
            Form::Unit(ColumnUnit::Days) => "a unit of dates",
            Form::Unit(ColumnUnit::Time(_)) => "a unit of dates, times and timestamps",
        }
    }
}

/// Gives a column, or a field of a column, the form that its options name.
///
/// `path` is in lower case, as all option keys are. It starts with the name of a column. `.name`
/// then selects a field of a STRUCT, and `[]` selects the items of a list or the values of a MAP.
/// `is_json` says which columns come from JSON.
///
/// # Errors
/// The table's own options name no column, several columns, or a column of another type.
pub(crate) fn apply(
    fields: &mut [FieldRef],
    path: &str,
    options: &ColumnOptions,
    is_json: impl Fn(&str) -> bool,
) -> Result<()> {
    let encoding = options.encoding.map(Form::Encoding);
    let unit = options.unit.map(Form::Unit);
    for form in encoding.into_iter().chain(unit) {
        match apply_form(fields, path, form, &is_json) {
            // The option is a default that is also meant for other tables.
            Err(_) if !options.is_own => {}
            Err(reason) => {
                let key = form.key(path);
                return Err(Error::InvalidOption { key, reason });
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn apply_form(
    fields: &mut [FieldRef],
    path: &str,
    form: Form,
    is_json: impl Fn(&str) -> bool,
) -> std::result::Result<(), String> {
    let found = fields.iter().enumerate().filter_map(|(place, field)| {
        let rest = after_name(field, path)?;
        let changed = changed(field, rest, form)?;
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
        (None, _) => Err(format!("the table has no such column; it has {}", known())),
        (Some(_), false) => {
            Err("several columns have this name, differing only in case".to_owned())
        }
        (Some((place, _, changed)), true) => match (changed, fields.get_mut(place)) {
            (Ok(_), Some(field)) if !is_json(field.name()) => {
                Err("has no effect, since the column does not come from JSON".to_owned())
            }
            (Ok(changed), Some(field)) => {
                *field = Arc::new(changed);
                Ok(())
            }
            (Err(data_type), _) => Err(format!(
                "`{}` is {}, and this is {}",
                form.name(),
                form.types(),
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

/// The field with another form at the end of a path. `None` where the path leads nowhere. An
/// error with the type where the path leads to something that does not have the form.
fn changed(field: &Field, path: &str, form: Form) -> Option<std::result::Result<Field, DataType>> {
    let data_type = field.data_type();
    if path.is_empty() {
        return Some(form.of(field).ok_or_else(|| data_type.clone()));
    }
    let inner = |inner: &FieldRef, path: &str| {
        let changed = changed(inner, path, form)?;
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

/// Whether a field, or a field within, has such a type.
fn holds(field: &Field, fits: fn(&DataType) -> bool) -> bool {
    fits(field.data_type()) || fields_within(field).any(|(_, field)| holds(field, fits))
}

/// The fields of which a field is made, with what selects them in a path.
pub(crate) fn fields_within(field: &Field) -> impl Iterator<Item = (String, &FieldRef)> {
    let (fields, item): (&[FieldRef], Option<&FieldRef>) = match field.data_type() {
        DataType::Struct(fields) => (fields, None),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            (&[], Some(item))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => (&[], fields.get(1)),
            _ => (&[], None),
        },
        _ => (&[], None),
    };
    let fields = fields
        .iter()
        .map(|field| (format!(".{}", field.name().to_ascii_lowercase()), field));
    fields.chain(item.map(|item| ("[]".to_owned(), item)))
}

/// The options that say how a column stands in JSON, and their values. `unit` is that of all
/// columns.
pub(crate) fn options_of(field: &Field, unit: Option<TimeUnit>) -> Vec<(String, &'static str)> {
    let otherwise = unit.map(|unit| Form::Unit(ColumnUnit::Time(unit)));
    let forms = forms(field).into_iter();
    let own = forms.filter(|(_, form)| Some(*form) != otherwise);
    own.map(|(path, form)| (form.key(&path), form.name()))
        .collect()
}

/// Notes in the options how a column stands in JSON, unless they say so already.
pub(crate) fn note(field: &Field, columns: &mut BTreeMap<String, ColumnOptions>) {
    for (path, form) in forms(field) {
        let options = columns.entry(path).or_default();
        match form {
            Form::Encoding(encoding) => drop(options.encoding.get_or_insert(encoding)),
            Form::Unit(unit) => drop(options.unit.get_or_insert(unit)),
        }
    }
}

/// The forms of a column and of the fields within, by their paths.
fn forms(field: &Field) -> Vec<(String, Form)> {
    let mut found = Vec::new();
    collect(field, field.name().to_ascii_lowercase(), &mut found);
    found
}

fn collect(field: &Field, path: String, found: &mut Vec<(String, Form)>) {
    match TextEncoding::of(field) {
        TextEncoding::Text => {}
        encoding => found.push((path.clone(), Form::Encoding(encoding))),
    }
    if let Some(unit) = number_unit(field).and_then(ColumnUnit::named) {
        found.push((path.clone(), Form::Unit(unit)));
    }
    for (selector, field) in fields_within(field) {
        collect(field, format!("{path}{selector}"), found);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const JSON: Form = Form::Encoding(TextEncoding::Json);
    const DAYS: Form = Form::Unit(ColumnUnit::Days);

    fn columns() -> Vec<FieldRef> {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let tags = DataType::new_list(DataType::Utf8, true);
        let date = Field::new("born", DataType::Date32, true);
        let address = vec![text("City"), Field::new("tags", tags, true), date.clone()];
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
            date,
            Field::new("amount", DataType::Decimal128(10, 2), true),
            Field::new("photo", DataType::BinaryView, true),
        ];
        fields.into_iter().map(Arc::new).collect()
    }

    /// The options of the columns after this form was applied.
    fn applied(path: &str, form: Form, is_own: bool) -> Result<Vec<(String, &'static str)>> {
        let mut fields = columns();
        let mut options = ColumnOptions {
            is_own,
            ..ColumnOptions::default()
        };
        match form {
            Form::Encoding(encoding) => options.encoding = Some(encoding),
            Form::Unit(unit) => options.unit = Some(unit),
        }
        apply(&mut fields, path, &options, |name| name != "_key")?;
        assert!(
            fields
                .iter()
                .zip(columns())
                .all(|(new, old)| new.name() == old.name())
        );
        let options = fields.iter().flat_map(|field| options_of(field, None));
        Ok(options.collect())
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
            let expected = vec![(JSON.key(path), "json")];
            assert_eq!(applied(path, JSON, true).unwrap(), expected);
        }
        for (path, form) in [
            ("address", JSON),
            ("born", DAYS),
            (
                "address.born",
                Form::Unit(ColumnUnit::Time(TimeUnit::Second)),
            ),
            ("amount", Form::Encoding(TextEncoding::Base64Decimal)),
            ("photo", Form::Encoding(TextEncoding::Hex)),
        ] {
            let expected = vec![(form.key(path), form.name())];
            assert_eq!(applied(path, form, true).unwrap(), expected);
        }
        // All dates within.
        let expected = vec![(DAYS.key("address.born"), "days")];
        assert_eq!(applied("address", DAYS, true).unwrap(), expected);
    }

    #[test]
    fn what_means_no_such_column_is_an_error_of_the_tables_own_options() {
        let mixed = Form::Encoding(TextEncoding::Mixed);
        for (path, form, reason) in [
            (
                "ids",
                JSON,
                "the table has no such column; it has _key, Id, n, ",
            ),
            ("address.street", JSON, "the table has no such column"),
            ("address[]", JSON, "the table has no such column"),
            (
                "n",
                mixed,
                "`mixed` is an encoding of VARCHAR, and this is BIGINT",
            ),
            ("n", DAYS, "`days` is a unit of dates, and this is BIGINT"),
            (
                "id",
                Form::Encoding(TextEncoding::Hex),
                "`hex` is an encoding of BYTEA, and this is VARCHAR",
            ),
            (
                "address",
                mixed,
                "`mixed` is an encoding of VARCHAR, and this is STRUCT",
            ),
            ("twice", JSON, "several columns have this name"),
            (
                "_key",
                JSON,
                "has no effect, since the column does not come from JSON",
            ),
        ] {
            let error = applied(path, form, true).unwrap_err().to_string();
            assert!(error.contains(&form.key(path)), "{error}");
            assert!(error.contains(reason), "{error}");
            assert_eq!(applied(path, form, false).unwrap(), []);
        }
    }
}
