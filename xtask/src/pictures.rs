//! `cargo xtask pictures`: the pictures of the README, from a real build, so that they show what users see.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{build, root, setup, succeed};

/// The size of the page in pixels, and that of the terminal in characters.
const WINDOW: (u32, u32) = (1240, 620);
const TERMINAL: (usize, usize) = (96, 40);

/// Traces a command, or reads a saved trace, and writes both pictures into `docs/pictures`.
pub(crate) fn pictures(arguments: &[String]) -> Result<()> {
    let work = root().join("target/pictures");
    fs::create_dir_all(&work)?;
    let (tracer, arguments) = match arguments {
        [flag, binary, rest @ ..] if flag == "--with" => (PathBuf::from(binary), rest),
        _ => (build()?, arguments),
    };
    let trace = match arguments {
        [file] if file.ends_with(".jsonl") => PathBuf::from(file),
        [dashes, command @ ..] if dashes == "--" && !command.is_empty() => {
            let file = work.join("trace.jsonl");
            succeed(Command::new(&tracer).arg("-o").arg(&file).arg("--").args(command))?;
            file
        }
        _ => bail!(
            "usage: cargo xtask pictures [--with BINARY] -- COMMAND, or cargo xtask pictures [--with BINARY] FILE.jsonl"
        ),
    };
    let folder = root().join("docs/pictures");
    fs::create_dir_all(&folder)?;
    let page = work.join("trace.html");
    succeed(Command::new(&tracer).args(["report".as_ref(), trace.as_os_str(), "-o".as_ref(), page.as_os_str()]))?;
    screenshot(&page, &folder.join("page.png"))?;
    let svg = svg(&summary(&tracer, &trace)?)?;
    fs::write(folder.join("summary.svg"), svg)?;
    println!("wrote page.png and summary.svg into {}", folder.display());
    Ok(())
}

fn screenshot(page: &Path, picture: &Path) -> Result<()> {
    let mut browser = Command::new(setup::chromium()?);
    browser.args(["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=10000"]);
    browser.arg(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
    browser.arg(format!("--screenshot={}", picture.display())).arg(format!("file://{}", page.display()));
    succeed(browser.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The summary of a trace, with the colours of a terminal.
fn summary(tracer: &Path, trace: &Path) -> Result<String> {
    let (columns, lines) = TERMINAL;
    let command = format!("stty cols {columns} rows {lines}; exec \"$TRACER\" report \"$TRACE\" 2>/dev/null");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).stdin(Stdio::null());
    script
        .env("TRACER", tracer)
        .env("TRACE", trace)
        .env("TERM", "xterm")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("NO_COLOR");
    let output = script.output().context("cannot run script, of util-linux")?;
    let text = String::from_utf8(output.stdout)?.replace('\r', "");
    if !output.status.success() {
        bail!("{}: {text}", output.status);
    }
    Ok(text)
}

/// The styles that our text reports use, by the numbers of their escape sequences.
const STYLES: [(&str, &str); 4] =
    [("1", "font-weight:bold;fill:#fff"), ("2", "fill:#8b949e"), ("31", "fill:#ff7b72"), ("33", "fill:#d29922")];

/// A picture of a terminal with this text.
fn svg(text: &str) -> Result<String> {
    const FONT: (f64, f64) = (8.43, 18.0);
    let lines: Vec<_> = text.trim_end().lines().collect();
    let (width, height) = (TERMINAL.0 as f64 * FONT.0 + 32.0, lines.len() as f64 * FONT.1 + 28.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace\" font-size=\"14\" fill=\"#c9d1d9\">\n"
    );
    for (number, line) in lines.iter().enumerate() {
        write!(svg, "<text x=\"16\" y=\"{:.0}\">", 28.0 + number as f64 * FONT.1)?;
        for (place, part) in line.split("\x1b[").enumerate() {
            let (code, text) = if place == 0 { ("0", part) } else { part.split_once('m').context("another escape")? };
            if text.is_empty() {
                continue;
            }
            // Each part has its width, whatever font the reader has.
            let columns = text.chars().count() as f64 * FONT.0;
            let style = STYLES.iter().find(|(known, _)| *known == code).map(|(_, style)| format!(" style=\"{style}\""));
            let style = match style {
                Some(style) => style,
                None if code == "0" => String::new(),
                None => bail!("no style for the escape sequence {code}"),
            };
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            // Viewers would join ordinary spaces.
            let text = text.replace(' ', "\u{a0}");
            write!(svg, "<tspan textLength=\"{columns:.1}\"{style}>{text}</tspan>")?;
        }
        svg += "</text>\n";
    }
    svg += "</g>\n</svg>\n";
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_terminal_become_styles() {
        let svg = svg("\x1b[1mmake\x1b[0m <a>\n\x1b[31m4 failed\x1b[0m\n").unwrap();
        assert!(svg.contains(">make</tspan><tspan textLength=\"33.7\">\u{a0}&lt;a&gt;</tspan></text>"), "{svg}");
        assert!(svg.contains("style=\"fill:#ff7b72\">4\u{a0}failed</tspan></text>"), "{svg}");
        assert!(super::svg("\x1b[7mreverse").is_err());
    }
}
