//! How results are shown: tables for people, JSON and YAML for programs.
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::failure::{Failure, While};

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// YAML, as it can be applied again.
    Yaml,
}

/// Writes a line to standard output. A reader that has gone away (`weft get … | head`) is not an error.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.while_("write to standard output").map_err(|failure| failure.hint("is the disk full?")),
    }
}

/// Writes a value as YAML, or as JSON: indented for a terminal, one line for a program.
pub(crate) fn value(format: Format, value: &impl Serialize) -> Result<(), Failure> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).while_("write YAML"),
        _ if io::stdout().is_terminal() => serde_json::to_string_pretty(value).while_("write JSON"),
        _ => serde_json::to_string(value).while_("write JSON"),
    };
    line(text.map_err(|failure| failure.hint("try another form with -o"))?.trim_end())
}

/// Writes a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).while_("write JSON");
    line(text.map_err(|failure| failure.hint("try another form with -o"))?)
}

/// A table with a header and no lines.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines = table.lines();
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
