"""report.html: well-formed, self-contained, honest, and with the numbers of the JSON."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tests.support.reports import HOSTILE, hostile, report_of, smallest, usual
from unlearn.audits.flags import FLAGS
from unlearn.audits.plan import AuditPlan, Training
from unlearn.audits.render import REPORTS, as_object
from unlearn.audits.render.flag_texts import FLAG_TEXTS
from unlearn.audits.render.words import DEFINITION, headline
from unlearn.audits.report import Flag
from unlearn.limits import LIMITS
from unlearn.radius import Radius

VOID = {"meta", "img", "br", "link", "input", "hr"}
ALL = [usual, smallest, hostile]


class Page(HTMLParser):
    """Elements and texts of a page; raises where tags do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts, self.rows = [], [], [], []
        self.cell = None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), "an attribute stands twice"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.cell = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self.rows[-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        text = data.replace("\N{NO-BREAK SPACE}", " ")
        self.texts.append(text)
        if self.cell is not None:
            self.cell += text

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def html_of(report):
    return REPORTS["report.html"](report)


@pytest.mark.parametrize("make", ALL)
def test_the_page_is_well_formed_and_each_identifier_stands_once(make):
    page = Page(html_of(make()))
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    for _, attributes in page.elements:
        for name in attributes.get("aria-labelledby", "").split():
            assert name in identifiers


@pytest.mark.parametrize("make", ALL)
def test_the_page_runs_nothing_and_loads_nothing(make):
    html = html_of(make())
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"]
        assert attributes.get("href", "#").startswith("#")
    assert "://" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"url\((?!#)", html)
    assert "@import" not in html


def test_texts_from_outside_stay_texts():
    html = html_of(hostile())
    assert "<script" not in html.lower()
    assert not {"\x1b", "\u202e"} & set(html)
    html.encode("utf-8")  # no broken encoding is left
    visible = "<script>alert('1')</script>\"&\\x1b[31m\\udcff\\u202e"
    assert Page(html).text.count(visible) > 8
    assert HOSTILE not in html


@pytest.mark.parametrize("make", ALL)
def test_the_definition_stands_above_the_first_number(make):
    text = Page(html_of(make())).text
    first = re.search(r"\d %", text)
    assert first
    assert text.index(DEFINITION) < first.start()


def test_every_headline_number_has_all_it_depends_on_beside_it():
    for report in (usual(), smallest(), usual(fractions=usual().plan.fractions[1:])):
        for sentence in headline(report):
            assert "%" in sentence
            for part in ("stripes", "resnet18", "ρa", "countermeasure"):
                assert part in sentence


def test_the_headline_names_what_gave_the_copier_most():
    *told, last = headline(usual())
    assert "got 22.0 % ± 1.0" in told[0]
    assert "82.0 % ± 1.0 from clean pictures" in told[0]
    assert (
        "80.0 % ± 1.0 from pictures with random noise of the same size and 42.0 % ± 1.0" in told[0]
    )
    assert "most" in last
    assert "52.0 % ± 1.0" in last


def test_the_headline_says_so_if_nothing_gave_the_copier_more():
    report = usual()
    weak = [
        replace(result, accuracy_last=0.1 if result.cell.countermeasure != "none" else 0.5)
        for result in report.results
    ]
    assert "in any of the 2 other settings" in headline(replace(report, results=tuple(weak)))[-1]


def test_the_headline_names_the_first_network_of_each_view_beside_its_own_controls():
    networks = ("resnet18@64", "vgg16@64", "resnet18@224")
    plan = AuditPlan(Training(64, 224), networks, rho_a=(Radius.of_levels(0),))
    report = report_of(plan)
    results = [
        replace(one, accuracy_last=0.5 if one.cell.arm == "protected" else 0.75)
        if one.cell.architecture == "resnet18@224"
        else one
        for one in report.results
    ]
    small, large = headline(replace(report, results=tuple(results)))[:2]
    assert "a resnet18 at 64 px that" in small
    assert "got 21.0 %" in small
    assert "81.0 % from clean" in small
    assert "a resnet18 at 224 px that" in large
    assert "got 50.0 %" in large
    assert "75.0 % from clean" in large
    assert "vgg16" not in small + large


@pytest.mark.parametrize("make", ALL)
def test_no_report_promises_what_no_tool_can_keep(make):
    text = Page(html_of(make())).text.lower()
    for word in ("ai-proof", "learn nothing", "guarantee", "undetectable", "unlearnable"):
        assert word not in text


def test_all_flags_are_shown_with_their_messages_and_what_to_do_below_the_headline():
    flags = [Flag(name, f"message of {name}") for name in FLAGS]
    text = Page(html_of(replace(usual(), flags=tuple(flags)))).text
    for flag in flags:
        place = text.index(flag.message)
        assert text.index(headline(usual())[-1]) < place < text.index("The numbers of this chart")
        assert " ".join(FLAG_TEXTS[flag.name].paragraph.replace("`", "").split())[-40:] in text
    assert "Reasons to doubt" not in Page(html_of(replace(usual(), flags=()))).text


def test_many_messages_of_a_flag_are_folded_but_there():
    flags = tuple(Flag("diverged", f"victim {number}.") for number in range(8))
    text = Page(html_of(replace(usual(), flags=flags))).text
    assert text.index("victim 4.") < text.index("3 more") < text.index("victim 5.")
    assert "victim 7." in text


def test_many_classes_and_unreadable_files_are_counted():
    names = tuple(f"class{number}" for number in range(25))
    files = tuple((f"{number}.jpg", "torn") for number in range(25))
    subject = replace(usual().subject, classes=names, unreadable=files, duplicates=3)
    text = Page(html_of(replace(usual(), subject=subject))).text
    assert "class19 and 5 more" in text
    assert "19.jpg: torn" in text
    assert "5 more files, see report.json" in text
    assert "3 held-out pictures are also in the training set" in text


def test_too_few_pictures_are_stamped_above_the_numbers():
    text = Page(html_of(smallest())).text
    assert text.index("Too few pictures to conclude") < text.index("32.0 %")
    assert "Too few pictures to conclude" not in Page(html_of(usual())).text


@pytest.mark.parametrize("make", [usual, smallest])
def test_the_table_has_the_numbers_of_the_json(make):
    report = make()
    rows = table_of(Page(html_of(report)))
    summaries = as_object(report)["summaries"]
    assert len(rows) == len(summaries)
    for summary in summaries:
        rho_a = "0" if summary["rho_a"] == "0/255" else summary["rho_a"]
        name = summary["countermeasure"]
        counter = "no countermeasure" if name == "none" else f"countermeasure {name}"
        share = "" if summary["arm"] == "clean" else summary["fraction"]
        row = rows[f"resnet18, ρa {rho_a}, {counter}", summary["arm"], share]
        assert row["Last, %"] == estimated(summary["last"])
        assert row["Best, %"] == estimated(summary["best"])
        low, high = (f"{100 * summary['last'][end]:.1f}" for end in ("low", "high"))
        assert row["95 % interval, %"] == f"{low} to {high}"
        assert row["Train, %"] == f"{100 * summary['train']:.1f}"
        assert row["Chance, %"] == "25.0"
        found = summary["found_epochs"]
        assert row["Found, epoch"] == str(found[0] if found else "")
        assert row["Seeds"] == str(summary["seeds"])
        for title, key in (("Minus clean", "minus_clean"), ("Minus remainder", "minus_remainder")):
            assert row.get(title, "") == signed(summary[key])


def table_of(page):
    """Return the rows of the main table by group, arm and share."""
    start = next(i for i, row in enumerate(page.rows) if row[0] == "Trained on")
    titles, found, group = page.rows[start], {}, ""
    for row in page.rows[start + 1 :]:
        if row[0] == "Noise":  # the next table
            break
        if len(row) == 1:
            group = row[0]
        else:
            found[group, row[0], row[1]] = dict(zip(titles, row, strict=True))
    return found


def estimated(values):
    spread = "" if values["spread"] is None else f" ± {100 * values['spread']:.1f}"
    return f"{100 * values['mean']:.1f}{spread}"


def signed(difference):
    return "" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def drawings(html):
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", html, re.S)]


def test_charts_have_names_descriptions_and_a_table_of_their_numbers():
    html = html_of(usual())
    names = {}
    for drawing in drawings(html):
        title, description = (drawing.find(f"{{*}}{name}").text for name in ("title", "desc"))
        names[title] = description
    assert list(names) == [
        "Accuracy by the copier's adversary: resnet18",
        "Countermeasures at ρa 0: resnet18",
        "Accuracy by epoch at ρa 0: resnet18",
        "Accuracy by epoch at ρa 4/255: resnet18",
    ]
    assert "protected: 22.0 % ± 1.0 at 0, 27.0 % ± 1.0 at 4." in next(iter(names.values()))
    page = Page(html)
    assert ["4", "77.0 % ± 1.0", "75.0 % ± 1.0", "37.0 % ± 1.0", "27.0 % ± 1.0"] in page.rows
    assert ["jpeg10", "82.0 % ± 1.0", "52.0 % ± 1.0"] in page.rows
    assert ["3", "82.0 %", "80.0 %", "42.0 %", "22.0 %"] in page.rows


def test_higher_accuracies_are_drawn_higher_and_all_inside_the_drawing():
    (drawing, *_) = drawings(html_of(usual()))
    _, _, width, height = map(float, drawing.get("viewBox").split())
    ends = {}
    for path in drawing.findall(".//{*}path"):
        if path.get("class", "").startswith("line"):
            places = [tuple(map(float, p.split())) for p in re.split("[ML]", path.get("d"))[1:]]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
            ends[path.get("class")] = [y for _, y in places]
    assert ends["line clean"][0] < ends["line clean"][-1]  # y grows downwards
    assert ends["line clean"][0] < ends["line placebo"][0] < ends["line protected"][0]


def test_charts_without_data_are_left_out():
    assert [drawing.find("{*}title").text for drawing in drawings(html_of(smallest()))] == [
        "Accuracy by the copier's adversary: resnet18"
    ]
    nothing = replace(usual(), results=())
    assert drawings(html_of(nothing)) == []


def test_the_page_has_what_the_owner_sees_beside_the_results():
    rows = Page(html_of(usual())).rows
    assert ["motif", "squares of 32 px", "40", "4.8 (6.0)", "too small"] in rows
    seen = ["protected", "files at full size", "40", "3.0 (3.8)", "1.6 (2.3)"]
    assert seen in rows
    assert "What the owner sees" not in html_of(smallest())


def test_one_seed_has_no_spread():
    text = Page(html_of(smallest())).text
    assert "± 0" not in text
    assert "One seed" in text


def test_networks_and_schedules_are_told_apart():
    plan = AuditPlan(
        Training(32, 32, epochs=2),
        architectures=("resnet18", "vit"),
        rho_a=(Radius.of_levels(0), Radius.of_levels(1.6)),
        decays=("cosine", "constant"),
    )
    html = html_of(report_of(plan, epochs=2))
    groups = {group for group, _, _ in table_of(Page(html))}
    assert "vit, ρa 1.6/255, no countermeasure, constant schedule" in groups
    assert len(groups) == 8
    assert len(drawings(html)) == 4 + 8


def test_networks_that_are_shown_pictures_in_other_ways_are_told_apart():
    crops = "flips and random resized crops of at least 0.25 of the area"
    for names, said in (
        (("resnet18",), "flips and padded crops"),
        (("resnet18@32", "vit"), f"{crops} (32 px); flips and padded crops (64 px)"),
        (("resnet18@32", "vit@48"), crops),
    ):
        plan = AuditPlan(Training(64, 64), architectures=names, rho_a=(Radius.of_levels(0),))
        assert f"Views{said} Optimiser" in Page(html_of(report_of(plan))).text


def test_settings_versions_and_limits_are_told():
    text = Page(html_of(usual())).text
    assert LIMITS in text
    for part in ("f00d", "CPU, fp32", "PGD, 10 steps of 1/5 ρa", "1, 2, 3", "800 pairs"):
        assert part in text
    assert "threads" not in text  # nothing is said of what has no value
