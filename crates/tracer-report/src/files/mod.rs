//! Reports that are files. Each format has its own module. The module of Parquet is outside this folder, because it also reads
//! files.

mod chrome;
mod folded;
mod html;
mod perfetto;
mod processes;

use std::io::{self, Write};

use crate::{by::By, formats::Format, parquet, report::Report};

/// Begins a report in this format. Only the HTML page uses `by`: its table of costs first shows sums by this property.
///
/// # Errors
///
/// The beginning of the file cannot be written.
pub fn begin(format: Format, to: Box<dyn Write + Send>, by: Option<&By>) -> io::Result<Box<dyn Report>> {
    Ok(match format {
        Format::Html => Box::new(html::Page::begin(to, by)?),
        Format::Perfetto => Box::new(perfetto::Tracks::begin(to)),
        Format::Chrome => Box::new(chrome::Events::begin(to)?),
        Format::Parquet => Box::new(parquet::Writer::begin(to)?),
        Format::FoldedWall => Box::new(folded::Stacks::new(to, folded::Weight::Wall)),
        Format::FoldedCpu => Box::new(folded::Stacks::new(to, folded::Weight::Cpu)),
        Format::Json => Box::new(processes::Processes::begin(to, processes::Syntax::Json)?),
        Format::Csv => Box::new(processes::Processes::begin(to, processes::Syntax::Csv)?),
    })
}
