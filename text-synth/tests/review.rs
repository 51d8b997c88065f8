//! The review page: what it holds, that it escapes, and that a browser shows it.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{captions, ct, em, mri, shards, text_synth};
use data_manifests::Manifest;
use data_manifests::records::{self, Origin, Replaced, Report, Sentence, Verdict, VolumeReport};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::{TempDir, tempdir};

/// An id that would break a page that does not escape.
const ODD: &str = "a<b>&'c\"";

struct Bench {
    directory: TempDir,
}

impl Bench {
    /// Captions and template reports of some volumes.
    fn new(volumes: &[common::Volume]) -> Self {
        let bench = Self { directory: tempdir().unwrap() };
        shards(&bench.at("shards"), volumes);
        captions(&bench.at("shards"), &bench.at("captions"), &["--stride", "4"]);
        let mut command = text_synth();
        command.args(["report", "--quiet", "--captions"]).arg(bench.at("captions"));
        command.arg("--out").arg(bench.at("reports")).assert().success();
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn reports(&self) -> Vec<Report> {
        records::read_lines(&self.at("reports").join(records::REPORTS)).unwrap()
    }

    /// Puts other reports, volumes and rejected texts in the place of the written ones.
    fn rewrite(&self, reports: &[Report], volumes: &[VolumeReport], rejected: &[serde_json::Value]) {
        let out = self.at("reports");
        let write = |name: &str, bytes: Vec<u8>| stage::atomic::write(&out.join(name), &bytes).unwrap();
        write(records::REPORTS, records::to_lines(reports).unwrap());
        write(records::VOLUMES, records::to_lines(volumes).unwrap());
        write("rejected.jsonl", records::to_lines(rejected).unwrap());
        let mut manifest = Manifest::load(&out, "report").unwrap();
        manifest.counts.insert("prompt_tokens".to_owned(), 4321);
        manifest.finish(&out, |_| "reports").unwrap();
    }

    fn review(&self, extra: &[&str]) -> Output {
        let mut command = text_synth();
        command.arg("review");
        for name in ["shards", "captions", "reports"] {
            command.arg(format!("--{name}")).arg(self.at(name));
        }
        command.arg("--out").arg(self.at("review.html")).args(extra).output().unwrap()
    }

    fn page(&self, extra: &[&str]) -> String {
        let output = self.review(extra);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs_err::read_to_string(self.at("review.html")).unwrap()
    }
}

fn sentence(text: &str, verdict: Verdict) -> Sentence {
    Sentence {
        text: text.into(),
        verdict,
        sources: Vec::new(),
        reasons: Vec::new(),
        origin: Origin::Writer,
        replaces: None,
    }
}

/// Reports of all verdicts, one unchecked, one missing; names and texts that need escaping.
fn checked() -> Bench {
    let bench = Bench::new(&[ct(ODD), ct("b")]);
    let mut reports = bench.reports();
    reports.pop();
    for report in &mut reports[1..] {
        report.sentences = vec![
            Sentence {
                sources: vec!["fact:level_mm".into(), "descriptor:anatomy".into()],
                ..sentence("Axial CT of the abdomen.", Verdict::Supported)
            },
            Sentence {
                sources: vec!["term:liver".into()],
                reasons: vec!["'enhancement' is not among the facts".into()],
                ..sentence("The liver shows <script>alert(1)</script> enhancement.", Verdict::Unsupported)
            },
            Sentence {
                reasons: vec!["the vocabulary has no kidney & no stone".into()],
                ..sentence("A stone lies in the kidney.", Verdict::Contradicted)
            },
            Sentence {
                origin: Origin::Template,
                replaces: Some(Replaced {
                    text: "A mass of 9 cm.".into(),
                    reasons: vec!["no structure is longer than 27 mm".into()],
                }),
                ..sentence("One structure above 130 HU.", Verdict::Supported)
            },
        ];
    }
    reports[0].sentences = Vec::new();
    let of_case = |report: &Report| VolumeReport {
        case: report.case.clone(),
        dataset: report.dataset.clone(),
        text: "The volume.".into(),
        writer: "template/2".into(),
        model: None,
        request: String::new(),
        sentences: vec![sentence("The volume shows the abdomen.", Verdict::Supported)],
        slices: vec![report.id.clone()],
        facts: [].into(),
    };
    let volumes = [of_case(&reports[0])];
    let rejected = [
        json!({"id": "x", "reasons": ["refusal"], "replaced": true}),
        json!({"id": "y", "reasons": ["too short: 3 words"], "replaced": false}),
    ];
    bench.rewrite(&reports, &volumes, &rejected);
    bench
}

#[test]
fn the_page_tells_verdicts_sources_and_counts_and_escapes_all() {
    let bench = checked();
    let html = bench.page(&[]);
    assert_eq!(html, bench.page(&[]));
    // two cases of three slices; one report is missing, one was not checked
    assert_eq!(html.matches("src=\"data:image/png;base64,").count(), 6);
    assert_eq!(html.matches("class=\"contradicted\"").count(), 4 + 1);
    assert_eq!(html.matches("This text was not checked sentence by sentence.").count(), 1);
    assert_eq!(html.matches("No report was written for this slice").count(), 1);
    for text in [
        "6 of 6 slices, drawn with seed 0",
        "<b>16</b><strong>sentences checked</strong><span>in the place of others: 4</span>",
        "<b>4</b><strong>sentences contradicted</strong><span>unsupported: 4</span>",
        "<td class=\"number\">8 (50.0 %)</td>",
        "<span aria-hidden=\"true\">✗</span> contradicted</span> A stone lies in the kidney.",
        "<code>fact:level_mm</code>",
        "Why: the vocabulary has no kidney &#38; no stone",
        "In place of: <del>A mass of 9 cm.</del> (no structure is longer than 27 mm)",
        "Origin: put in by the template",
        "<tr><td>reports</td><td>too short</td><td class=\"number\">1</td><td class=\"number\">0</td></tr>",
        "<td>prompt tokens</td><td class=\"number\">4321</td>",
        "soft tissue window, level 50 HU, width 400 HU",
        "<dt>dense_structures_count</dt><dd>1</dd>",
        "The volume shows the abdomen.",
        "alt=\"axial slice of the abdomen (contrast-enhanced computed tomography), section",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("a&#60;b&#62;&#38;&#39;c&#34;, axial"));
    assert!(!html.contains("<script") && !html.contains("a<b>") && !html.contains("&'c"));
    // nothing comes from elsewhere
    for outside in ["http://", "https://", "url(", "@import", "<link", "file:"] {
        assert!(!html.contains(outside), "{outside}");
    }
    // headings go down one level at a time
    let mut level = 0;
    for heading in html.split("<h").skip(1).filter_map(|h| h.chars().next()?.to_digit(10)) {
        assert!(heading <= level + 1 && heading >= 1, "h{heading} after h{level}");
        level = heading;
    }
    for directory in ["shards", "captions", "reports"] {
        let (_, sha256) = data_manifests::digest::file(&bench.at(directory).join("manifest.json")).unwrap();
        assert!(html.contains(&sha256), "{directory}");
    }
    // a smaller sample is a part of the larger one
    let few = bench.page(&["--sample", "2", "--seed", "5"]);
    assert!(few.contains("2 of 6 slices, drawn with seed 5"));
    assert_eq!(few.matches("<article class=\"panel slice").count(), 2);
}

/// A page that cannot be written is named once.
#[test]
fn a_page_that_cannot_be_written_is_named_once() {
    let bench = Bench::new(&[ct("a")]);
    let mut command = text_synth();
    command.arg("review");
    for name in ["shards", "captions", "reports"] {
        command.arg(format!("--{name}")).arg(bench.at(name));
    }
    // a name that leaves no room for that of its temporary
    let output = command.arg("--out").arg(bench.at(&format!("{}.html", "x".repeat(250)))).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.matches("cannot write").count()), (Some(1), 1), "{text}");
}

#[test]
fn other_directories_are_refused() {
    let bench = checked();
    let says = |output: &Output, code: &str| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(code), "{text}");
    };
    let mut command = text_synth();
    command.args(["review", "--shards"]).arg(bench.at("shards")).arg("--captions").arg(bench.at("captions"));
    command.arg("--reports").arg(bench.at("captions")).arg("--out").arg(bench.at("x.html"));
    says(&command.output().unwrap(), "E010");
    captions(&bench.at("shards"), &bench.at("captions"), &["--stride", "2", "--overwrite"]);
    says(&bench.review(&[]), "E214");
    assert!(!bench.at("review.html").exists());
    let bench = Bench::new(&[ct("a")]);
    let inside = bench.at("shards").join("review.html");
    let mut command = text_synth();
    command.arg("review");
    for name in ["shards", "captions", "reports"] {
        command.arg(format!("--{name}")).arg(bench.at(name));
    }
    says(&command.arg("--out").arg(inside).output().unwrap(), "E221");
}

/// A Chromium of this machine.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|d| names.map(|n| d.join(n))).find(|p| p.is_file())
}

fn browse(browser: &Path, profile: &Path, extra: &[String], page: &Path) -> Output {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg("--virtual-time-budget=4000");
    let output = command.args(extra).arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_browser_shows_every_picture() {
    let Some(browser) = chromium() else {
        eprintln!("skipped: no chromium; 'apt-get install chromium' has one");
        return;
    };
    for (name, bench) in [("ct", checked()), ("mri", Bench::new(&[mri("a")])), ("em", Bench::new(&[em("a")]))]
    {
        let html = bench.page(&[]);
        let pictures = html.matches("<img ").count();
        assert!(pictures > 1);
        let script = "<script>addEventListener('load',()=>{const all=[...document.images];\
            document.documentElement.dataset.loaded=all.filter(i=>i.complete&&i.naturalWidth>8&&i.clientWidth>8).length;\
            document.documentElement.dataset.wide=document.documentElement.scrollWidth})</script></body>";
        let probe = bench.at("probe.html");
        stage::atomic::write(&probe, html.replace("</body>", script).as_bytes()).unwrap();
        let size = "--window-size=1280,900".to_owned();
        let output = browse(&browser, &bench.at("profile"), &["--dump-dom".to_owned(), size], &probe);
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(dom.contains(&format!("data-loaded=\"{pictures}\"")), "{name}: {}", &dom[..200]);
        assert!(dom.contains("data-wide=\"1280\""), "{name}: the page is wider than the window");

        let shot = bench.at("shot.png");
        let extra = [format!("--screenshot={}", shot.display()), "--window-size=1280,3000".to_owned()];
        browse(&browser, &bench.at("profile"), &extra, &bench.at("review.html"));
        let bytes = fs_err::read(&shot).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let step = info.color_type.samples();
        // pictures are the only grey on the page that is darker than its text
        let black = pixels.chunks(step).filter(|p| p[..3].iter().all(|v| *v < 16)).count();
        assert!(name != "ct" || black > 20_000, "{name}: {black} black pixels");
        if let Some(keep) = std::env::var_os("GTGM_SCREENSHOTS") {
            fs_err::create_dir_all(&keep).unwrap();
            fs_err::copy(&shot, Path::new(&keep).join(format!("review_{name}.png"))).unwrap();
            fs_err::copy(bench.at("review.html"), Path::new(&keep).join(format!("review_{name}.html")))
                .unwrap();
        }
    }
}
