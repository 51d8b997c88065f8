//! The tables as Markdown and LaTeX.

use super::PaperTable;

/// What a reader must know beside the numbers.
const NOTE: &str = "Published rows have other splits, other training lengths and (Dice) an unstated treatment of the background: a place to look, not a ranking. Differences that are improvements are marked; ± is the standard deviation over seeds of runs that differ in nothing else; other runs have rows of their own.";

/// All tables as Markdown.
pub(crate) fn markdown(tables: &[PaperTable]) -> String {
    let mut lines = vec!["# Results beside the published ones".to_owned(), String::new(), NOTE.to_owned()];
    let plain = |text: &str| text.replace('|', "\\|");
    for table in tables {
        lines.extend([String::new(), format!("## {}", table.caption()), String::new()]);
        lines.push(format!(
            "| method | {} |",
            table.heads().iter().map(|h| plain(h)).collect::<Vec<_>>().join(" | ")
        ));
        lines.push(format!("| --- |{}", " --- |".repeat(table.datasets.len())));
        for cells in table.lines(|text| format!("**{text}**")) {
            lines.push(format!("| {} |", cells.iter().map(|c| plain(c)).collect::<Vec<_>>().join(" | ")));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// All tables as LaTeX (package booktabs).
pub(crate) fn latex(tables: &[PaperTable]) -> String {
    let mut lines = vec!["% needs \\usepackage{booktabs}".to_owned()];
    for table in tables {
        lines.extend([
            "\\begin{table}".to_owned(),
            "\\centering".to_owned(),
            format!("\\caption{{{}. {}}}", safe(&table.caption()), safe(NOTE)),
            format!("\\begin{{tabular}}{{l{}}}", "c".repeat(table.datasets.len())),
            "\\toprule".to_owned(),
            format!(
                "Method & {} \\\\",
                table.heads().iter().map(|h| safe(h)).collect::<Vec<_>>().join(" & ")
            ),
            "\\midrule".to_owned(),
        ]);
        // marks survive the escape: their letters are put in afterwards
        for cells in table.lines(|text| format!("\u{1}{text}\u{2}")) {
            let cells: Vec<String> =
                cells.iter().map(|c| safe(c).replace('\u{1}', "\\textbf{").replace('\u{2}', "}")).collect();
            lines.push(format!("{} \\\\", cells.join(" & ")));
        }
        lines.extend(["\\bottomrule", "\\end{tabular}", "\\end{table}", ""].map(str::to_owned));
    }
    lines.join("\n")
}

/// Text that is safe inside LaTeX.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '±' => out.push_str("$\\pm$"),
            '–' => out.push_str("--"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Cell, Row};

    fn example() -> PaperTable {
        let cell = |value: f64| Some(Cell { value, std: None, runs: 1 });
        PaperTable {
            modality: "MRI".into(),
            metric: "Dice %".into(),
            larger_is_better: true,
            decimals: 2,
            datasets: vec!["msd04_hippocampus".into()],
            fractions: vec![vec![0.01, 0.1, 1.0]],
            rows: vec![
                Row {
                    name: "GTGM".into(),
                    ours: false,
                    cells: vec![vec![cell(53.41), cell(79.01), cell(84.92)]],
                },
                Row {
                    name: "GTGM+".into(),
                    ours: false,
                    cells: vec![vec![cell(54.72), cell(80.17), cell(86.13)]],
                },
                Row {
                    name: "resenc, pretrained".into(),
                    ours: true,
                    cells: vec![vec![Some(Cell { value: 60.0, std: Some(1.5), runs: 3 }), None, cell(86.0)]],
                },
            ],
        }
    }

    #[test]
    fn markdown_has_the_published_rows_ours_and_the_difference() {
        insta::assert_snapshot!(markdown(&[example()]), @r"
        # Results beside the published ones

        Published rows have other splits, other training lengths and (Dice) an unstated treatment of the background: a place to look, not a ranking. Differences that are improvements are marked; ± is the standard deviation over seeds of runs that differ in nothing else; other runs have rows of their own.

        ## MRI: Dice % by share of the labels used, more is better

        | method | msd04_hippocampus (1 / 10 / 100 %) |
        | --- | --- |
        | GTGM | 53.41 / 79.01 / 84.92 |
        | GTGM+ | 54.72 / 80.17 / 86.13 |
        | ours: resenc, pretrained | 60.00 ± 1.50 / – / 86.00 |
        | difference to the best published | **+5.28** / – / -0.13 |
        ");
    }

    #[test]
    fn latex_escapes_what_has_a_meaning_there() {
        let text = latex(&[example()]);
        for part in [
            "Method & msd04\\_hippocampus (1 / 10 / 100 \\%) \\\\",
            "ours: resenc, pretrained & 60.00 $\\pm$ 1.50 / -- / 86.00 \\\\",
            "difference to the best published & \\textbf{+5.28} / -- / -0.13 \\\\",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
