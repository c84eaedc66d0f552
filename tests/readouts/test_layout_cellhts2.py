"""The layout of cellHTS2: what is read, and every mistake as one line with file and line."""

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.readouts.layouts import exclude, folder_source, read_layout

PLATELIST = "Filename\tPlate\tReplicate\na.txt\t1\t1\nb.txt\t1\t2\nc.txt\t2\t1\nd.txt\t2\t2\n"
PLATECONF = "Wells: 96\nPlates: 2\nPlate\tWell\tContent\n*\t*\tsample\n*\tA0[1-2]\tother\n*\tB01\tneg\n*\tB02\tpos\n"
SCREENLOG = "Plate\tSample\tWell\tFlag\tComment\n2\t1\tC3\tNA\tContamination\n2\t2\tC03\tNA\t\n"
IDS = "Plate\tWell\tGene\tSymbol\n1\tA03\tCG1\tNA\n1\tA04\tNA\tx\n2\tA03\tCG2\tyellow\n"

FILES = {"Platelist.txt": PLATELIST, "Plateconf.txt": PLATECONF, "Screenlog.txt": SCREENLOG, "ids.txt": IDS}


def read(changes=None, fmt=96, **options):
    files = {name: text.encode() for name, text in {**FILES, **(changes or {})}.items() if text is not None}
    return read_layout("cellhts2", files.__getitem__, fmt, **options)


def roles_of(layout, barcode="P01-R1"):
    plate = layout.platemap[layout.platemap["barcode"] == barcode]
    return dict(zip(plate["well"], plate["role"], strict=True))


def test_the_plate_map_has_every_well_of_every_plate_and_replicate():
    layout = read()
    platemap = layout.platemap
    assert list(platemap.columns) == ["barcode", "well", "row", "column", "role", "perturbation", "replicate", "slot"]
    assert platemap["barcode"].value_counts().to_dict() == dict.fromkeys(["P01-R1", "P01-R2", "P02-R1", "P02-R2"], 96)
    assert platemap["role"].value_counts().to_dict() == {"sample": 4 * 92, "other": 8, "negcon": 4, "poscon": 4}
    assert platemap.loc[platemap["well"] == "H12", ["row", "column"]].drop_duplicates().to_numpy().tolist() == [[7, 11]]
    sample = platemap["role"] == "sample"
    assert (platemap.loc[~sample, "perturbation"] == "").all()
    assert (platemap.loc[~sample, "replicate"] == 0).all()
    assert (platemap["replicate"] == platemap["barcode"].str[-1].astype(int).where(sample, 0)).all()
    assert layout.notes == ()


def test_without_ids_every_place_is_a_perturbation_which_replicates_share():
    platemap = read().platemap
    samples = platemap[platemap["role"] == "sample"]
    assert (samples["perturbation"] == samples["barcode"].str[:3] + "-" + samples["well"]).all()
    assert (samples.groupby("perturbation").size() == 2).all()


def test_files_are_those_of_the_plate_list():
    files = read().files
    assert files["file"].tolist() == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert files["plate"].tolist() == ["1", "1", "2", "2"]
    assert files["replicate"].tolist() == [1, 2, 1, 2]
    assert files["attempt"].tolist() == [1, 1, 1, 1]
    assert files["run"].tolist() == [""] * 4
    assert files["line"].tolist()[-1] == "Platelist.txt, line 5"


def test_a_batch_column_is_the_run():
    text = "Filename\tPlate\tReplicate\tBatch\na.txt\t1\t1\tmon\nb.txt\t2\t1\ttue\n"
    log = "Plate\tWell\tFlag\n1\tC03\tNA\n"
    assert read({"Platelist.txt": text, "Screenlog.txt": log}).files["run"].tolist() == ["mon", "tue"]


def test_ids_name_perturbations_and_places_stand_in_where_there_is_none():
    layout = read(annotation="ids.txt", id="Gene")
    plate = layout.platemap[layout.platemap["barcode"] == "P01-R2"].set_index("well")["perturbation"]
    assert plate[["A01", "A03", "A04", "A05"]].tolist() == ["", "CG1", "P01-A04", "P01-A05"]
    assert layout.notes == ("182 sample wells have no Gene; they are named by their place, as P01-A04",)
    ids = layout.annotation.set_index(["barcode", "well"])
    assert ids.loc[("P02-R1", "A03")].to_dict() == {"Gene": "CG2", "Symbol": "yellow"}
    assert ids.loc[("P01-R1", "A03")].to_dict() == {"Gene": "CG1", "Symbol": ""}
    assert ids.loc[("P01-R1", "A05")].to_dict() == {"Gene": "", "Symbol": ""}


def test_a_stray_tab_is_overlooked_and_named_but_a_filled_cell_too_many_is_not():
    layout = read({"ids.txt": IDS + "2\tA04\tCG3\tz\t\t\n"}, annotation="ids.txt")
    assert layout.notes == ("ids.txt: 1 line with a stray delimiter at the end (line 5), read without it",)
    with pytest.raises(UserError, match=r"^ids.txt, line 5: wrong number of cells; got 5, expected 4$"):
        read({"ids.txt": IDS + "2\tA04\tCG3\tz\tmore\n"}, annotation="ids.txt")


def test_excluded_wells_keep_their_reason_and_lose_their_value():
    layout = read()
    assert layout.exclusions.to_numpy().tolist() == [
        ["P02-R1", 0, "C03", "Contamination"],
        ["P02-R2", 0, "C03", "flag NA"],
    ]
    wells = layout.platemap[["barcode", "well"]].assign(attempt=1, value=1.0, area=2.0)
    done = exclude(wells, layout.exclusions, ["value", "area"])
    hit = done["barcode"].isin(["P02-R1", "P02-R2"]) & (done["well"] == "C03")
    assert done.loc[hit, ["value", "area"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(done[~hit], wells[~hit])


def test_no_log_excludes_nothing_but_only_when_that_is_said():
    assert read({"Screenlog.txt": None}, screenlog=None).exclusions.empty
    with pytest.raises(UserError, match=r"^Screenlog.txt: the layout's file is missing$"):
        read({"Screenlog.txt": None})


def test_one_channel_of_several_is_read():
    text = "Filename\tPlate\tReplicate\tChannel\na.txt\t1\t1\t1\nb.txt\t1\t1\t2\nc.txt\t2\t1\t1\nd.txt\t2\t1\t2\n"
    log = "Plate\tWell\tFlag\tChannel\n1\tC03\tNA\t1\n2\tC04\tNA\t2\n"
    layout = read({"Platelist.txt": text, "Screenlog.txt": log}, channel=2)
    assert layout.files["file"].tolist() == ["b.txt", "d.txt"]
    assert layout.exclusions["well"].tolist() == ["C04"]
    assert layout.notes == ("Platelist.txt: of the channels 1, 2, 2 is read",)
    with pytest.raises(UserError, match=r"not one of its channels; got layout.channel None, expected 1, 2"):
        read({"Platelist.txt": text})


def test_rules_are_those_of_cellhts2():
    conf = (
        "Wells: 96\nPlates: 2\nPlate\tWell\tContent\n*\t*\tsample\n2\t^A\tPOS\n*\t01$\tNeg\n*\ta1\tGFP\n1\tB03\tempty\n"
    )
    layout = read({"Plateconf.txt": conf}, controls={"gfp": "other"})
    first, second = roles_of(layout, "P01-R1"), roles_of(layout, "P02-R1")
    assert {well for well, role in first.items() if role == "negcon"} == {f"{row}01" for row in "BCDEFGH"}
    assert {well for well, role in second.items() if role == "poscon"} == {f"A{c:02d}" for c in range(2, 13)}
    assert first["A01"] == second["A01"] == "other"
    assert (first["B03"], second["B03"], first["A02"]) == ("empty", "sample", "sample")


WELLS = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
PATTERNS = ["*", "A0[1-2]", "^[B-D]", "12$", "A01", "h12", "[A-C]0", "(03|04)$"]
RULES = st.lists(
    st.tuples(
        st.sampled_from(["*", "1", "[1-2]", "2"]),
        st.sampled_from(PATTERNS),
        st.sampled_from(["neg", "pos", "other", "empty"]),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(RULES)
def test_the_last_rule_that_fits_a_well_holds(rules):
    lines = ["*\t*\tsample", *("\t".join(rule) for rule in rules)]
    layout = read({"Plateconf.txt": "Wells: 96\nPlates: 2\nPlate\tWell\tContent\n" + "\n".join(lines) + "\n"})
    names = {"neg": "negcon", "pos": "poscon"}
    for number in ("1", "2"):
        expected = dict.fromkeys(WELLS, "sample")
        for plate, pattern, content in rules:
            for well in WELLS:
                fits = pattern == "*" or re.search(pattern.upper() if pattern == "h12" else pattern, well)
                if fits and (plate == "*" or re.search(plate, number)):
                    expected[well] = names.get(content, content)
        assert roles_of(layout, f"P0{number}-R1") == expected


@settings(deadline=None)
@given(
    st.permutations(PLATELIST.splitlines()[1:]),
    st.permutations(IDS.splitlines()[1:]),
    st.permutations(SCREENLOG.splitlines()[1:]),
)
def test_the_order_of_the_lines_does_not_matter(plates, ids, log):
    def shuffled(text, lines):
        return "\n".join([text.splitlines()[0], *lines]) + "\n"

    changed = {
        "Platelist.txt": shuffled(PLATELIST, plates),
        "ids.txt": shuffled(IDS, ids),
        "Screenlog.txt": shuffled(SCREENLOG, log),
    }
    one, other = read(annotation="ids.txt", id="Gene"), read(changed, annotation="ids.txt", id="Gene")
    for name in ("platemap", "exclusions", "annotation"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    pd.testing.assert_frame_equal(one.files.drop(columns="line"), other.files.drop(columns="line"))
    assert one.notes == other.notes


@pytest.mark.parametrize(
    ("changes", "options", "line"),
    [
        ({"Platelist.txt": None}, {}, "Platelist.txt: the layout's file is missing"),
        ({"Plateconf.txt": None}, {}, "Plateconf.txt: the layout's file is missing"),
        ({}, {"annotation": "no.txt"}, "no.txt: the layout's file is missing"),
        (
            {"Platelist.txt": "File\tPlate\tReplicate\n"},
            {},
            "Platelist.txt, line 1: no column Filename; got File, Plate, Replicate",
        ),
        ({"Platelist.txt": PLATELIST.splitlines()[0]}, {}, "Platelist.txt: no plates"),
        (
            {"Platelist.txt": PLATELIST + "e.txt\t2\t2\n"},
            {},
            "Platelist.txt, line 6: named twice; got plate 2 replicate 2, which stands on line 5, expected each once",
        ),
        (
            {"Platelist.txt": PLATELIST + "a.txt\t3\t1\n"},
            {},
            "Platelist.txt, line 6: named twice; got file a.txt, which stands on line 2, expected each once",
        ),
        (
            {"Platelist.txt": PLATELIST + "e.txt\t0\t1\n"},
            {},
            "Platelist.txt, line 6: Plate is not a whole number from 1; got '0'",
        ),
        (
            {"Platelist.txt": PLATELIST + "e.txt\t1\n"},
            {},
            "Platelist.txt, line 6: wrong number of cells; got 2, expected 3",
        ),
        (
            {"Platelist.txt": PLATELIST + "e.txt\t3\t1\n"},
            {},
            "Plateconf.txt, line 2: another number of plates; got 2, expected 3, as the plate list says",
        ),
        (
            {"Plateconf.txt": PLATECONF.replace("96", "384")},
            {},
            "Plateconf.txt, line 1: another number of wells; got 384, expected 96, as plates.format says",
        ),
        (
            {"Plateconf.txt": PLATECONF.replace("Wells: 96\n", "\n")},
            {},
            "Plateconf.txt: no line 'Wells: …' among the first two; expected Wells: 96",
        ),
        (
            {"Plateconf.txt": PLATECONF + "*\tQ01\tneg\n"},
            {},
            "Plateconf.txt, line 8: well outside the 96-well plate; got 'Q01', expected a well from A01 to H12",
        ),
        (
            {"Plateconf.txt": PLATECONF + "*\tA2[4-5]\tneg\n"},
            {},
            "Plateconf.txt, line 8: the rule fits nothing; "
            "got Well 'A2[4-5]', expected a pattern for some of the wells A01 to H12",
        ),
        (
            {"Plateconf.txt": PLATECONF + "3\tA01\tneg\n"},
            {},
            "Plateconf.txt, line 8: the rule fits nothing; "
            "got Plate '3', expected a pattern for some of the plates 1 to 2",
        ),
        (
            {"Plateconf.txt": PLATECONF + "*\tA[\tneg\n"},
            {},
            "Plateconf.txt, line 8: not a pattern; got Well 'A[': unterminated character set at position 1",
        ),
        (
            {"Plateconf.txt": PLATECONF + "*\tA*\tneg\n"},
            {},
            "Plateconf.txt, line 8: the pattern fits everything; "
            "got Well 'A*', expected * alone for everything, ^A for row A",
        ),
        (
            {"Plateconf.txt": PLATECONF + "*\tA01\tGFP\n"},
            {},
            "Plateconf.txt, line 8: unknown content; "
            "got 'GFP', expected sample, neg, pos, other, empty. Give its role in layout.controls, as {GFP: negcon}.",
        ),
        (
            {"Plateconf.txt": PLATECONF.replace("*\t*\tsample\n", "")},
            {},
            "Plateconf.txt: no rule says what stands in a well; got plate 1, well A03",
        ),
        (
            {"Screenlog.txt": SCREENLOG + "3\t1\tA01\tNA\tx\n"},
            {},
            "Screenlog.txt, line 4: unknown plate; "
            "got plate 3, sample 1, expected a plate and replicate of Platelist.txt",
        ),
        (
            {"Screenlog.txt": SCREENLOG + "1\t3\tA01\tNA\tx\n"},
            {},
            "Screenlog.txt, line 4: unknown plate; "
            "got plate 1, sample 3, expected a plate and replicate of Platelist.txt",
        ),
        (
            {"Screenlog.txt": SCREENLOG + "1\t1\tA13\tNA\tx\n"},
            {},
            "Screenlog.txt, line 4: well outside the 96-well plate; got 'A13', expected a well from A01 to H12",
        ),
        (
            {"Screenlog.txt": SCREENLOG + "2\t1\tC3\tNA\tx\n"},
            {},
            "Screenlog.txt, line 4: named twice; got P02-R1 C03, which stands on line 2, expected each once",
        ),
        (
            {"Screenlog.txt": "Plate\tWell\tFlag\n"},
            {},
            "Screenlog.txt, line 1: no column Sample; got Plate, Well, Flag",
        ),
        (
            {"ids.txt": IDS + "3\tA03\tx\ty\n"},
            {"annotation": "ids.txt"},
            "ids.txt, line 5: unknown plate; got 3, expected a plate of Platelist.txt",
        ),
        (
            {"ids.txt": IDS + "1\ta3\tx\ty\n"},
            {"annotation": "ids.txt"},
            "ids.txt, line 5: named twice; got plate 1 well A03, which stands on line 2, expected each once",
        ),
        (
            {},
            {"annotation": "ids.txt", "id": "HFAID"},
            "ids.txt, line 1: no column HFAID; got Plate, Well, Gene, Symbol",
        ),
        ({}, {"id": "Gene"}, "layout: id names a column of the annotation: give annotation too"),
        ({}, {"plate_list": "x"}, "layout: unknown key plate_list. Remove it or correct its spelling."),
    ],
)
def test_every_mistake_is_one_line_with_file_and_line(changes, options, line):
    with pytest.raises(UserError) as caught:
        read(changes, **options)
    assert str(caught.value) == line


def test_a_file_that_is_not_text_is_named():
    files = {name: text.encode() for name, text in FILES.items()} | {"Screenlog.txt": "Plate\tü".encode("latin-1")}
    with pytest.raises(UserError, match=r"^Screenlog.txt: not UTF-8 text; got byte 6. Save the file as UTF-8.$"):
        read_layout("cellhts2", files.__getitem__, 96)


def test_an_unknown_style_is_named():
    with pytest.raises(
        UserError, match=r"^layout.style: unknown layout; got 'excel', expected cellhts2 or jump or table$"
    ):
        read_layout("excel", FILES.__getitem__, 96)


def test_a_folder_gives_its_files_and_nothing_outside(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    layout = read_layout("cellhts2", folder_source(tmp_path), 96)
    pd.testing.assert_frame_equal(layout.platemap, read().platemap)
    with pytest.raises(UserError, match=r"the layout's file is missing"):
        read_layout("cellhts2", folder_source(tmp_path), 96, platelist="none.txt")
    with pytest.raises(UserError, match=r"the name leads out of the folder; got '../Platelist.txt'"):
        read_layout("cellhts2", folder_source(tmp_path), 96, platelist="../Platelist.txt")
    with pytest.raises(UserError, match=r"no such folder"):
        folder_source(tmp_path / "none")
