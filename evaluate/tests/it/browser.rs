//! The report in a browser: nothing is fetched, nothing goes wrong, and its numbers are those of `metrics.csv`.

use crate::world::{World, run};
use stage::ExitStatus;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A Chromium of this machine.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|d| names.map(|n| d.join(n))).find(|p| p.is_file())
}

fn browse(browser: &Path, profile: &Path, extra: &[String], page: &Path) -> Output {
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg("--virtual-time-budget=4000");
    let output = command.args(extra).arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Counts pictures that loaded, errors and what was fetched, and tells the width of the page.
const PROBE: &str = "<script>
const root=document.documentElement;let errors=0;
addEventListener('error',()=>errors++,true);
addEventListener('load',()=>{document.querySelectorAll('details').forEach(d=>d.open=true);const all=[...document.images];
root.dataset.loaded=all.filter(i=>i.complete&&i.naturalWidth>8&&i.clientWidth>8).length;
root.dataset.fetched=performance.getEntriesByType('resource').filter(e=>!e.name.startsWith('data:')).length;
root.dataset.errors=errors;root.dataset.wide=root.scrollWidth;
root.dataset.reachable=[...document.querySelectorAll('a,summary,[tabindex]')].filter(e=>{e.focus();return document.activeElement===e}).length;
root.dataset.focusable=document.querySelectorAll('a,summary,[tabindex]').length})
</script></head>";

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
    Some(&tag[start..start + tag[start..].find('"')?])
}

/// Cells of the page with all of their values: (case, class, definition) to exact and shown value.
fn cells(dom: &str) -> BTreeMap<[String; 3], [String; 2]> {
    let mut found = BTreeMap::new();
    for cell in dom.split("<td ").skip(1) {
        let (tag, rest) = cell.split_once('>').unwrap();
        let Some(exact) = attribute(tag, "data-value") else { continue };
        let key =
            ["data-case", "data-class", "data-definition"].map(|n| attribute(tag, n).unwrap().to_owned());
        let shown = rest.split('<').next().unwrap().to_owned();
        assert_eq!(found.insert(key, [exact.to_owned(), shown]), None);
    }
    found
}

fn report(world: &World) -> PathBuf {
    world.seal();
    assert_eq!(
        world.score(&["--metrics", "default,hd95:edge-max,volume-difference:ml"]).0.unwrap(),
        ExitStatus::Done
    );
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    world.path("report/report.html")
}

/// The page's numbers against the table, whoever rendered it.
fn compare_numbers(world: &World, dom: &str) {
    let found = cells(dom);
    let table = fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap();
    let mut means: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut rows = 0;
    for row in csv::Reader::from_reader(table.as_bytes()).records() {
        let row = row.unwrap();
        let key = [&row[0], &row[1], &row[3]].map(str::to_owned);
        assert!(found.contains_key(&key), "{key:?} is not on the page");
        let [exact, shown] = &found[&key];
        assert_eq!(exact, &row[4]);
        match row[4].parse::<f64>() {
            Ok(value) if value.is_finite() => {
                assert!((shown.parse::<f64>().unwrap() - value).abs() <= 5e-7, "{shown} for {value}");
                means.entry((row[1].to_owned(), row[3].to_owned())).or_default().push(value);
            }
            Ok(_) => assert_eq!(shown, "∞"),
            Err(_) => assert_eq!(shown, "n/a"),
        }
        rows += 1;
    }
    assert_eq!(found.len(), rows);
    // the overview's means are those of the table: first the mean over classes, then the classes
    let summary = world.summary();
    let tags: Vec<&str> = dom
        .split("<td ")
        .skip(1)
        .filter_map(|c| c.split('>').next())
        .filter(|t| t.contains("data-mean"))
        .collect();
    let classes = summary.gtgm.classes.len();
    assert_eq!(tags.len(), (1 + classes) * summary.gtgm.definitions.len());
    for (i, tag) in tags.iter().enumerate() {
        let row = i / summary.gtgm.definitions.len();
        let definition = attribute(tag, "data-definition").unwrap();
        let of_class = |class: usize| {
            let values = &means[&(summary.gtgm.classes[class].class.clone(), definition.to_owned())];
            values.iter().sum::<f64>() / values.len() as f64
        };
        let expected = match row {
            0 => (0..classes).map(of_class).sum::<f64>() / classes as f64,
            row => of_class(row - 1),
        };
        let mean: f64 = attribute(tag, "data-mean").unwrap().parse().unwrap();
        assert!((mean - expected).abs() < 1e-12, "{tag}: {mean} instead of {expected}");
    }
}

#[test]
fn the_numbers_of_the_file_are_those_of_the_table() {
    let world = World::new();
    let page = report(&world);
    let html = fs_err::read_to_string(page).unwrap();
    compare_numbers(&world, &html);
    for part in ["(Bland–Altman)", "class=\"skip\"", "@media print", "Every value", "tabindex=\"0\""] {
        assert!(html.contains(part), "{part}");
    }
    for outside in ["url(", "@import", "<link", "file:", "<script", "src=\"http"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_browser_opens_the_report_from_its_file() {
    let Some(browser) = chromium() else {
        eprintln!("skipped: no chromium; 'apt-get install chromium' has one");
        return;
    };
    let world = World::new();
    let page = report(&world);
    let html = fs_err::read_to_string(&page).unwrap();
    let pictures = html.matches("<img ").count();
    assert_eq!(pictures, 6);
    let probe = world.path("probe.html");
    fs_err::write(&probe, html.replace("</head>", PROBE)).unwrap();
    for width in [1280, 500] {
        let size = format!("--window-size={width},900");
        let output = browse(&browser, &world.path("profile"), &["--dump-dom".to_owned(), size], &probe);
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let root = &dom[..dom.find("<head").unwrap()];
        for (name, expected) in [("loaded", pictures), ("fetched", 0), ("errors", 0), ("wide", width)] {
            let value = attribute(root, &format!("data-{name}")).unwrap();
            assert_eq!(value, expected.to_string(), "data-{name} at {width} pixels");
        }
        assert_eq!(attribute(root, "data-reachable"), attribute(root, "data-focusable"), "by keyboard");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!log.contains(":CONSOLE"), "{log}");
        compare_numbers(&world, &dom);
    }
    for (name, extra) in [
        ("desktop.png", vec!["--window-size=1280,3600".to_owned()]),
        ("phone.png", vec!["--window-size=500,5200".to_owned()]),
        ("print.pdf", Vec::new()),
    ] {
        let file = world.path(name);
        let what = if name.ends_with("pdf") { "print-to-pdf" } else { "screenshot" };
        let mut extra = extra;
        extra.push(format!("--{what}={}", file.display()));
        browse(&browser, &world.path("profile"), &extra, &page);
        assert!(fs_err::metadata(&file).unwrap().len() > 20_000, "{name}");
        if let Some(keep) = std::env::var_os("GTGM_SCREENSHOTS") {
            fs_err::create_dir_all(&keep).unwrap();
            fs_err::copy(&file, Path::new(&keep).join(format!("report_{name}"))).unwrap();
        }
    }
}
