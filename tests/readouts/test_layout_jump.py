"""The two-level layout of JUMP and LINCS: files of the public forms, and mistakes as one line."""

import pandas as pd
import pytest

from tasks.errors import UserError
from tasks.readouts.layouts import read_layout

BARCODES = (
    "Assay_Plate_Barcode,Plate_Map_Name,Batch_Number,Batch_Date\n"
    "BR2,MAP-1,2,2016-04-05\n"
    "BR1,MAP-1,1,2016-03-22\n"
    "BR3,MAP-2,1,2016-03-22\n"
)
# As JUMP-Target: no name of the map in it, vehicle wells without a sample.
MAP = (
    "well_position\tbroad_sample\tmg_per_ml\tmmoles_per_liter\tsolvent\n"
    "A01\tBRD-A\t1.6\t5.0\tDMSO\n"
    "A02\t\t\t\tDMSO\n"
    "a3\tBRD-P\t2.8\t5.0\tDMSO\n"
    "A04\tBRD-Q\t2.8\t5.0\tDMSO\n"
)
METADATA = (
    "broad_sample\tInChIKey\tpert_iname\tpert_type\tcontrol_type\n"
    "BRD-A\tTZDU\tgabapentin\ttrt\tNA\nBRD-B\t\tquinine\ttrt\tNA\nBRD-P\tMTJH\tCYT-997\tcontrol\tposcon_diverse\n"
    "BRD-Q\tCMYH\tKG-5\tcontrol\tposcon_cp\nNA\tIAZD\tDMSO\tcontrol\tnegcon\n"
)
# As LINCS: NA for vehicle wells, several doses of a sample, no metadata.
LINCS = (
    "plate_map_name\twell_position\tbroad_sample\tmg_per_ml\tmmoles_per_liter\tsolvent\n"
    "MAP-1\tA01\tNA\tNA\tNA\tDMSO\n"
    "MAP-1\tA02\tBRD-A\t5.1\t9.99999999999999999\tDMSO\n"
    "MAP-1\tA03\tBRD-A\t0.5\t1.e-001\tDMSO\n"
    "MAP-1\tA04\tBRD-BORT\t7.7\t20\tDMSO\n"
)
SECOND = MAP.replace("BRD-A", "BRD-B")
FILES = {
    "barcode_platemap.csv": BARCODES,
    "platemap/MAP-1.txt": MAP,
    "platemap/MAP-2.txt": SECOND,
    "meta.tsv": METADATA,
}


def read(changes=None, **options):
    files = {name: text.encode() for name, text in {**FILES, **(changes or {})}.items() if text is not None}
    return read_layout("jump", files.__getitem__, 96, **options)


def content(layout, barcode, column="role"):
    plate = layout.platemap[layout.platemap["barcode"] == barcode]
    return plate.set_index("well")[column][["A01", "A02", "A03", "A04", "A05"]].tolist()


def test_roles_come_from_the_metadata_and_replicates_from_the_barcodes():
    layout = read(metadata=["meta.tsv"])
    assert content(layout, "BR1") == ["sample", "negcon", "poscon", "poscon", "empty"]
    assert content(layout, "BR3", "perturbation") == ["BRD-B", "", "", "", ""]
    assert len(layout.platemap) == 3 * 96
    assert layout.files[["barcode", "plate", "replicate", "file", "run"]].to_numpy().tolist() == [
        ["BR1", "MAP-1", 1, "", ""],
        ["BR2", "MAP-1", 2, "", ""],
        ["BR3", "MAP-2", 1, "", ""],
    ]
    assert content(layout, "BR2", "replicate") == [2, 0, 0, 0, 0]
    assert "reagent" not in layout.platemap
    expected = "positive controls are all of poscon_cp, poscon_diverse; layout.controls can give them another role"
    assert layout.notes == (expected,)


def test_controls_override_and_ids_name_perturbations():
    layout = read(
        metadata=["meta.tsv"],
        id="InChIKey",
        run="Batch_Number",
        controls={"poscon_diverse": "other", "BRD-Q": "negcon"},
    )
    assert content(layout, "BR1") == ["sample", "negcon", "other", "negcon", "empty"]
    assert content(layout, "BR1", "perturbation")[0] == "TZDU"
    assert content(layout, "BR1", "reagent")[0] == "BRD-A"
    assert content(layout, "BR3", "perturbation")[0] == "BRD-B"
    assert layout.files["run"].tolist() == ["1", "2", "1"]
    assert "samples without InChIKey, which are named by their broad_sample: 1" in layout.notes


def test_annotation_joins_map_and_metadata():
    ids = read(metadata=["meta.tsv"]).annotation.set_index(["barcode", "well"])
    assert ids.loc[("BR2", "A01")].to_dict() == {
        "broad_sample": "BRD-A",
        "mg_per_ml": "1.6",
        "mmoles_per_liter": "5.0",
        "solvent": "DMSO",
        "InChIKey": "TZDU",
        "pert_iname": "gabapentin",
        "pert_type": "trt",
        "control_type": "",
    }
    assert ids.loc[("BR1", "A02"), "pert_iname"] == "DMSO"


def test_lincs_without_metadata_needs_the_role_of_blank_wells_and_can_tell_doses_apart():
    lincs = {"platemap/MAP-1.txt": LINCS, "platemap/MAP-2.txt": LINCS}
    with pytest.raises(
        UserError, match=r"^platemap/MAP-1.txt, line 2: a well without a sample.*Set layout.blank to negcon"
    ):
        read(lincs)
    controls = {"BRD-BORT": "poscon"}
    layout = read(lincs, blank="negcon", controls=controls)
    assert content(layout, "BR1") == ["negcon", "sample", "sample", "poscon", "empty"]
    assert content(layout, "BR1", "perturbation") == ["", "BRD-A", "BRD-A", "", ""]
    (note,) = layout.notes
    assert note.startswith("samples at several doses, which count as replicates: 1; layout.dose: mmoles_per_liter")
    apart = read(lincs, blank="negcon", controls=controls, dose="mmoles_per_liter")
    assert content(apart, "BR1", "perturbation") == ["", "BRD-A@10", "BRD-A@0.1", "", ""]
    assert apart.notes == ()


def test_maps_may_be_comma_separated_and_metadata_spread_over_files():
    first, *rest = METADATA.splitlines(keepends=True)
    changes = {f"platemap/{name}.csv": text.replace("\t", ",") for name, text in (("MAP-1", MAP), ("MAP-2", SECOND))}
    changes |= {"platemap/MAP-1.txt": None, "a.tsv": first + "".join(rest[:2]), "b.tsv": first + "".join(rest[2:])}
    layout = read(changes, platemaps="platemap/{}.csv", metadata=["a.tsv", "b.tsv"])
    pd.testing.assert_frame_equal(layout.platemap, read(metadata=["meta.tsv"]).platemap)


def test_excluded_wells_are_listed_with_their_reason():
    layout = read({"log.csv": "barcode,well,reason\nBR2,a1,leaked\n"}, metadata=["meta.tsv"], exclusions="log.csv")
    assert layout.exclusions.to_numpy().tolist() == [["BR2", 0, "A01", "leaked"]]


@pytest.mark.parametrize(
    ("changes", "options", "line"),
    [
        ({"barcode_platemap.csv": None}, {}, "barcode_platemap.csv: the layout's file is missing"),
        ({"platemap/MAP-2.txt": None}, {}, "platemap/MAP-2.txt: the layout's file is missing"),
        (
            {"barcode_platemap.csv": BARCODES + "BR1,MAP-2,1,x\n"},
            {},
            "barcode_platemap.csv, line 5: named twice; got barcode BR1, which stands on line 3, expected each once",
        ),
        (
            {"barcode_platemap.csv": BARCODES + ",MAP-2,1,x\n"},
            {},
            "barcode_platemap.csv, line 5: a plate without barcode or map",
        ),
        (
            {},
            {"run": "Batch"},
            "barcode_platemap.csv, line 1: no column Batch; "
            "got Assay_Plate_Barcode, Plate_Map_Name, Batch_Number, Batch_Date",
        ),
        (
            {"platemap/MAP-1.txt": MAP + "A1\tBRD-A\t\t\tDMSO\n"},
            {},
            "platemap/MAP-1.txt, line 6: named twice; got well A01, which stands on line 2, expected each once",
        ),
        (
            {"platemap/MAP-1.txt": MAP + "A13\tBRD-A\t\t\tDMSO\n"},
            {},
            "platemap/MAP-1.txt, line 6: well outside the 96-well plate; got 'A13', expected a well from A01 to H12",
        ),
        (
            {"platemap/MAP-1.txt": MAP + "A05\tBRD-X\t\t\tDMSO\n"},
            {},
            "platemap/MAP-1.txt, line 6: sample without metadata; "
            "got 'BRD-X', expected a line in layout.metadata, or its role in layout.controls",
        ),
        (
            {"platemap/MAP-1.txt": MAP + "A05\tBRD-A\t\thigh\tDMSO\n"},
            {"dose": "mmoles_per_liter"},
            "platemap/MAP-1.txt, line 6: dose is not a number; got 'high'",
        ),
        (
            {"meta.tsv": METADATA.replace("poscon_cp", "odd")},
            {},
            "meta.tsv, line 5: unknown kind of sample; "
            "got pert_type 'control', control_type 'odd', expected trt, negcon, poscon or empty. Give its role "
            "in layout.controls.",
        ),
        (
            {"meta.tsv": METADATA + "BRD-A\tTZDU\tx\tcontrol\tposcon_cp\n"},
            {},
            "meta.tsv, line 7: the sample is something else here; got BRD-A, expected kind and id of meta.tsv, line 2",
        ),
        (
            {"meta.tsv": "broad_sample\tname\n"},
            {},
            "meta.tsv, line 1: neither a column pert_type nor control_type; got broad_sample, name",
        ),
        (
            {},
            {"platemaps": "platemap/map.txt"},
            "layout: platemaps: the name of the map stands in it once, as {}; got 'platemap/map.txt'",
        ),
        (
            {"log.csv": "barcode,well,reason\nBR9,A01,leaked\n"},
            {"exclusions": "log.csv"},
            "log.csv, line 2: unknown plate; got 'BR9', expected a plate of the layout",
        ),
        (
            {"log.csv": "barcode,well,reason\nBR1,A01,\n"},
            {"exclusions": "log.csv"},
            "log.csv, line 2: exclusion without a reason",
        ),
    ],
)
def test_every_mistake_is_one_line_with_file_and_line(changes, options, line):
    with pytest.raises(UserError) as caught:
        read(changes, metadata=["meta.tsv"], **options)
    assert str(caught.value) == line
