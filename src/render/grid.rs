//! Cells of several lines in aligned columns, coloured where that is wanted.

use anstyle::Style;

/// Blanks between columns.
const GAP: usize = 2;

/// Text in one style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) style: Style,
}

/// Lines below each other.
pub(super) type Cell = Vec<Word>;

impl Word {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::styled(text, Style::new())
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    pub(super) fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Appends the word, coloured or not.
    pub(super) fn write(&self, out: &mut String, colour: bool) {
        if colour && !self.style.is_plain() && !self.text.is_empty() {
            let Self { text, style } = self;
            out.push_str(&format!("{style}{text}{style:#}"));
        } else {
            out.push_str(&self.text);
        }
    }
}

/// How wide each column has to be.
fn columns(rows: &[Vec<Cell>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.flatten().map(Word::width).max().unwrap_or(0)
    };
    (0..count).map(widest).collect()
}

/// How many characters the longest line has.
pub(super) fn width(rows: &[Vec<Cell>]) -> usize {
    let columns = columns(rows);
    columns.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

/// Appends the rows. A row is as high as its highest cell; no line has blanks at its end.
pub(super) fn write(out: &mut String, rows: &[Vec<Cell>], colour: bool) {
    let columns = columns(rows);
    for row in rows {
        let height = row.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut blanks = 0;
            for (cell, width) in row.iter().zip(&columns) {
                match cell.get(line).filter(|word| !word.text.is_empty()) {
                    Some(word) => {
                        out.push_str(&" ".repeat(blanks));
                        word.write(out, colour);
                        blanks = width - word.width();
                    }
                    None => blanks += width,
                }
                blanks += GAP;
            }
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let red = AnsiColor::Red.on_default();
        let rows = [
            vec![vec![Word::plain("a")], vec![Word::styled("bb", red), Word::plain("cccc")], vec![]],
            vec![vec![], vec![Word::plain("")], vec![Word::plain("d")]],
        ];
        let mut text = String::new();
        write(&mut text, &rows, false);
        assert_eq!(text, "a  bb\n   cccc\n         d\n");
        assert_eq!(width(&rows), 10);
        let mut coloured = String::new();
        write(&mut coloured, &rows, true);
        assert_eq!(coloured, "a  \u{1b}[31mbb\u{1b}[0m\n   cccc\n         d\n");
    }
}
