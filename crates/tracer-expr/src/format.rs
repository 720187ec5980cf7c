//! The text of values, as `string(…)` gives it.

use crate::{
    budget::Budget,
    error::Fault,
    numbers,
    time::{duration, layout, month_name, weekday_name},
    value::Value,
};

/// The text of a value.
pub(crate) fn text(value: &Value, budget: &mut Budget) -> Result<String, Fault> {
    let mut out = String::new();
    write(&mut out, value, budget)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, budget: &mut Budget) -> Result<(), Fault> {
    let start = out.len();
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Absent => {}
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Byte(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&numbers::text(*value)),
        Value::String(text) => out.push_str(text),
        Value::Bytes(bytes) => {
            budget.bytes(bytes.len() * 4)?;
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            out.push('[');
            out.push_str(&numbers.join(" "));
            out.push(']');
        }
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write(out, &item, budget)?;
            }
            out.push(']');
            return budget.bytes(2);
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write(out, &key, budget)?;
                out.push(':');
                write(out, value, budget)?;
            }
            out.push(']');
            return budget.bytes(5);
        }
        Value::Time(time) => out.push_str(&layout::text(time)),
        Value::Duration(value) => out.push_str(&duration::text(*value)),
        Value::Month(month) => out.push_str(&month_name(*month)),
        Value::Weekday(weekday) => out.push_str(&weekday_name(*weekday)),
        Value::Zone(zone) => out.push_str(zone.name()),
        Value::Method(method) => out.push_str(method.1),
    }
    budget.bytes(out.len() - start)
}

impl Value {
    /// The value as text, as the function `string` gives it. One value differs: the zone UTC becomes `UTC`.
    ///
    /// # Errors
    ///
    /// The text is too long.
    pub fn text(&self) -> Result<String, crate::Error> {
        text(self, &mut Budget::default()).map_err(|fault| crate::Error::bind(fault, ""))
    }
}
