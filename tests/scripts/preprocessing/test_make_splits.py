"""make_splits.py: lists of named protocols that the loaders accept."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from avdfd.baselines.vfd_folder import VfdFolder
from avdfd.core.clips import make_entry
from avdfd.core.errors import UserError
from avdfd.core.tiers import tier
from avdfd.corpora.inventory import FileFacts
from avdfd.corpora.manifest import make_row, write_manifest
from avdfd.elements import ElementStore
from avdfd.splits.lists import assign, read_splits
from data.preprocessing import make_splits
from tests.helpers.vfd import make_dfdc, make_voxceleb
from tests.paths import ROOT
from tests.unit.elements import meta


def run(store, *arguments):
    make_splits.main([*map(str, arguments), "--elements", str(store / "elements")])


def test_lists_for_a_store(store, tmp_path, capsys):
    run(store, "avdfd_7_3", "--out", tmp_path / "out")
    assert "28 clips" in capsys.readouterr().out  # 7 identities, 4 tiers
    lists = read_splits(tmp_path / "out" / "avdfd_7_3.csv")
    members = assign(ElementStore(store / "elements").metas, lists)
    assert all(members.values())
    again = (tmp_path / "out" / "avdfd_7_3.csv").read_bytes()
    run(store, "avdfd_7_3", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "avdfd_7_3.csv").read_bytes() == again


def test_the_authors_lists(store, tmp_path):
    (tmp_path / "train.txt").write_text("id1\nid3\nid5\n")
    (tmp_path / "held.txt").write_text("id2\nid4\nid6\nid7\n")
    run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "train.txt", "--held", tmp_path / "held.txt")
    split_of = read_splits(tmp_path / "avdfd_70.csv").split_of
    assert {split_of[i] for i in ("id1", "id3", "id5")} == {"train"}
    assert sorted(split_of[i] for i in ("id2", "id4", "id6", "id7")) == ["test", "test", "validation", "validation"]
    (tmp_path / "held.txt").write_text("id1\n")
    with pytest.raises(UserError, match="identity 'id1' is in the other list too"):
        run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "train.txt", "--held", tmp_path / "held.txt")
    with pytest.raises(UserError, match="no such list of identities"):
        run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "none.txt")
    with pytest.raises(UserError, match="mrdf_5fold draws its identities"):
        run(store, "mrdf_5fold", "--out", tmp_path, "--train", tmp_path / "train.txt")


def write_lists(folder, *groups):
    """Write a list for each group of identities: their real clip and one fake."""
    paths = []
    for number, identities in enumerate(groups):
        paths.append(folder / f"list{number}.csv")
        pairs = [(identity, tier(name)) for identity in identities for name in ("RVRA", "RVFA")]
        rows = [f"{kind.folder}/Asian/men/{identity}/00000.mp4,{kind.label}" for identity, kind in pairs]
        paths[-1].write_text("\n".join(["video_name,target", *rows]))
    return paths


def test_the_splits_of_openavffs_lists(store, tmp_path, capsys):
    lists = write_lists(tmp_path, ["id1", "id2"], ["id3"], ["id4", "id5"])
    lists[0].write_text(lists[0].read_text() + "\ngone/1.mp4,1\n")
    run(store, "openavff", "--out", tmp_path / "out", "--csv", *lists)
    assert "left out: 1 listed, but not among the clips" in capsys.readouterr().out
    assert "list,source,reason\nopenavff,gone/1.mp4," in (tmp_path / "out" / "left_out.csv").read_text()
    metas = ElementStore(store / "elements").metas
    members = assign(metas, read_splits(tmp_path / "out" / "openavff.csv"))
    found = {split: {(metas[i].identities[0], metas[i].tier) for i in members[split]} for split in members}
    both = ("RVRA", "RVFA")
    assert found["train"] == {(i, t) for i in ("id1", "id2") for t in both}
    assert found["validation"] == {("id3", t) for t in both}
    assert found["test"] == {(i, t) for i in ("id4", "id5") for t in both}
    # Pre-training has no test list; absolute paths are below a root.
    lists[1].write_text(f"{tmp_path}/RealVideo-RealAudio/Asian/men/id3/00000.mp4,0\n")
    run(store, "openavff", "--out", tmp_path / "two", "--videos", tmp_path, "--csv", *lists[:2])
    assert assign(metas, read_splits(tmp_path / "two" / "openavff.csv"))["test"] == []


def test_lists_that_are_no_splits_are_refused(store, tmp_path):
    def refused(*lists):
        with pytest.raises(UserError) as error:
            run(store, "openavff", "--out", tmp_path / "out", "--csv", *lists)
        return str(error.value)

    one, two, three = write_lists(tmp_path, ["id1"], ["id2"], ["id1"])
    assert "openavff takes --csv TRAIN.csv VALIDATION.csv" in refused(one)
    assert "list2.csv: line 2: video RealVideo" in refused(one, two, three)
    three.write_text("FakeVideo-RealAudio/Asian/men/id1/00000.mp4,1\n")
    assert "identity id1 is also in the list for train; keep it in one" in refused(one, two, three)
    two.write_text("gone.mp4,0\n")
    assert "list1.csv: line 1: none of the validation videos is among the clips" in refused(one, two)
    two.write_text("RealVideo-RealAudio/Asian/men/id2/00000.mp4,1\n")
    assert "has target 1, but label 0 here" in refused(one, two)
    two.write_text("/x/00000.mp4,1\n")
    assert "an absolute path: name the root of the videos with --videos" in refused(one, two)
    with pytest.raises(UserError, match="--csv is for openavff, not for avdfd_7_3"):
        run(store, "avdfd_7_3", "--out", tmp_path / "out", "--csv", one, two)
    assert not (tmp_path / "out").exists()


def test_the_authors_folds_of_mrdf(tmp_path, capsys):
    clips = [meta(f"id{i}", tier) for i in range(8) for tier in ("RVRA", "RVFA", "FVRA", "FVFA")]
    (tmp_path / "train_1.txt").write_text("source\n" + "".join(f"id{i}\n" for i in range(6)))
    (tmp_path / "train_3.txt").write_text("id0\n" + "".join(f"id{i}\n" for i in range(2, 8)))
    lists = make_splits.make("mrdf_5fold", clips, 0, {}, trained_on=make_splits.read_training_lists(tmp_path))
    assert [*lists] == ["fold_1", "fold_3"], "numbered like the lists"
    assert {row.identity for row in lists["fold_3"].rows if row.split == "test"} == {"id0", "id1"}
    with pytest.raises(UserError, match="--lists is for mrdf_5fold, not for avdfd_70"):
        make_splits.main(["avdfd_70", "--elements", "x", "--out", "x", "--lists", str(tmp_path)])


def test_one_list_per_present_method():
    clips = [meta(f"id{i}", tier) for i in range(12) for tier in ("RVRA", "RVFA", "FVFA")]
    assert list(make_splits.make("leave_one_method_out", clips, 0, {})) == ["without_RVFA"]
    with pytest.raises(UserError, match="needs FakeAVCeleb's methods"):
        make_splits.make("leave_one_method_out", [c for c in clips if c.tier != "RVFA"], 0, {})


def test_methods_without_a_family_are_listed(tmp_path, monkeypatch, capsys):
    clips = [
        meta(f"{page}-{tier}", tier, page=page, identities=(page,), base=page, source=f"{page}/{tier}",
             sha256=f"{page}/{tier}", method=method if tier != "RVRA" else "real")
        for page, method in zip("abcdef", ("HiFi-GAN", "own 1", "WaveGlow", "own 2", "Vocos", "VITS"), strict=True)
        for tier in ("RVRA", "RVFA")
    ]  # fmt: skip
    monkeypatch.setattr(make_splits, "load", lambda *_: (clips, None, ()))
    table = tmp_path / "families.csv"
    table.write_text(f"method,page,vocoder,converter,year,source\nown 1,,Own,,2026,{tmp_path}\n")
    for more, unknown in (
        ([], ["own 1", "own 2"]),
        (["--families", str(table)], ["HiFi-GAN", "VITS", "Vocos", "WaveGlow", "own 2"]),
    ):
        arguments = ["page_disjoint", "--elements", "any", "--out", str(tmp_path / "out"), *more]
        make_splits.main(arguments)
        assert f"a family of its own: {', '.join(unknown)}\n" in capsys.readouterr().out
        facts = json.loads((tmp_path / "out" / "split.json").read_text())
        assert facts["unknown_methods"] == unknown
        assert facts["made_from"].keys() == {"families.csv"}
    with pytest.raises(UserError, match="--families is for page_disjoint, not for real_only"):
        make_splits.main(["real_only", *arguments[1:]])
    with pytest.raises(UserError, match="no such table of families"):
        make_splits.main([*arguments[:-1], str(tmp_path / "none.csv")])


def test_too_few_identities_for_folds(store, tmp_path):
    with pytest.raises(UserError, match="5 folds need 15 or more"):
        run(store, "mrdf_5fold", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def manifest(tmp_path):
    """20 identities with a clip in each of two tiers, an unusable clip, and near-duplicates of the first two."""
    rows = []
    for i in range(20):
        for name in ("RVRA", "RVFA"):
            source = f"{tier(name).folder}/a/b/id{i:02d}/clip.mp4"
            entry = make_entry(Path("root"), source, tier(name), identities=(f"id{i:02d}",))
            rows.append(make_row(entry, FileFacts(sha256=source)))
    broken = make_entry(Path("root"), "RealVideo-RealAudio/a/b/id00/broken.mp4", tier("RVRA"), identities=("id00",))
    rows.append(make_row(broken, FileFacts(sha256="x", error="no audio stream")))
    write_manifest(tmp_path / "m.parquet", rows)
    return tmp_path / "m.parquet"


def write_copies(manifest, *groups):
    path = manifest.with_name("m.parquet.duplicates.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "match", "path", "tier", "base", "identities"])
        writer.writerows([n, "picture", path, "RVRA", path, "who"] for n, group in enumerate(groups) for path in group)
    return path


def split_manifest(manifest, *more, protocol="avdfd_7_3"):
    arguments = [protocol, "--manifest", manifest, "--out", manifest.parent / "out", *more]
    make_splits.main([str(argument) for argument in arguments])
    return read_splits(manifest.parent / "out" / f"{protocol}.csv")


def test_usable_clips_of_a_manifest(manifest):
    clips = split_manifest(manifest).clips
    assert len(clips) == 40
    assert not any("broken" in source for source in clips)


def test_near_duplicates_of_several_identities_stay_in_one_split(manifest, capsys):
    real = [f"RealVideo-RealAudio/a/b/id{i:02d}/clip.mp4" for i in range(20)]
    own = [real[0], real[0].replace("RealAudio", "FakeAudio"), "RealVideo-RealAudio/a/b/id00/broken.mp4"]
    lists = split_manifest(manifest, "--duplicates", write_copies(manifest, real[:10], own))
    kept = lists.clips & set(real[:10])
    assert {lists.split_of[source.split("/")[3]] for source in kept} == {"test"}
    facts = json.loads((manifest.parent / "out" / "split.json").read_text())
    assert facts["made_from"].keys() == {"m.parquet", "m.parquet.duplicates.csv"}
    assert facts["lists"]["avdfd_7_3.csv"]["left_out"]["near-duplicate of a clip of another split"] == 10 - len(kept)
    assert f"left out: {10 - len(kept)} near-duplicate of a clip of another split" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"no real clip is left for train; .* \(\d+ near-duplicate of a clip of another split\)"
    ):
        split_manifest(manifest, "--duplicates", write_copies(manifest, real))


def test_near_duplicates_without_elements(store, tmp_path):
    known = "RealVideo-RealAudio/Asian/men/id1/00000.mp4"
    path = write_copies(tmp_path / "m.parquet", [known, "quarantined.mp4"])
    run(store, "avdfd_7_3", "--out", tmp_path / "out", "--duplicates", path)
    assert known in read_splits(tmp_path / "out" / "avdfd_7_3.csv").clips
    path = write_copies(tmp_path / "m.parquet", ["a.mp4", "b.mp4"])
    with pytest.raises(UserError, match="names 2 files that are not among these clips, e.g. 'a.mp4'"):
        run(store, "avdfd_7_3", "--out", tmp_path / "out", "--duplicates", path)


def test_wrong_sources(manifest, store, tmp_path):
    with pytest.raises(UserError, match="name the clips by one of --elements STORE and --manifest FILE"):
        run(store, "avdfd_7_3", "--out", tmp_path, "--manifest", manifest)
    with pytest.raises(UserError, match="name the clips by one of"):
        make_splits.main(["avdfd_7_3", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="no such manifest"):
        split_manifest(tmp_path / "none.parquet")
    broken = make_entry(Path("root"), "a.mp4", tier("RVRA"), identities=("a",))
    write_manifest(manifest, [make_row(broken, FileFacts(error="no audio stream"))])
    with pytest.raises(UserError, match=r"m\.parquet: none of its 1 files can be used"):
        split_manifest(manifest)
    assert not (tmp_path / "out").exists()


def test_wrong_duplicates(manifest):
    with pytest.raises(UserError, match="none.csv: no such file; make_manifest.py --duplicates writes it"):
        split_manifest(manifest, "--duplicates", manifest.with_name("none.csv"))
    known = "RealVideo-RealAudio/a/b/id00/clip.mp4"
    with pytest.raises(
        UserError, match="names 1 files that are not among these clips, e.g. 'other.mp4'; take the file"
    ):
        split_manifest(manifest, "--duplicates", write_copies(manifest, [known, "other.mp4"]))
    path = manifest.with_name("wrong.csv")
    for content in (b"", b"one,two\n1,2\n", b"group,path\n1,\xff\n", b"group,path\n1,2,3\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"wrong\.csv: not written by make_manifest\.py --duplicates \("):
            split_manifest(manifest, "--duplicates", path)


def test_shell_script(manifest, tmp_path):
    command = ["bash", str(ROOT / "data/preprocessing/make_splits.sh"), "real_only", "--manifest", str(manifest)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "real_only.csv").is_file()
    wrong = subprocess.run([*command[:3], "--out", "x"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_lists_for_vfd_folders(tmp_path, capsys):
    make_voxceleb(tmp_path / "data" / "Voxceleb2", ["id1"])
    make_dfdc(tmp_path / "data" / "DFDC", [f"r{i}" for i in range(5)], [f"f{i}" for i in range(5)])
    (tmp_path / "data" / "DFDC" / "audio_feat" / "f4.npy").unlink()
    out = tmp_path / "out"
    make_splits.main(["vfd", "--elements", str(tmp_path / "data"), "--out", str(out)])
    assert "vfd.csv: 11 clips" in capsys.readouterr().out
    folder, lists = VfdFolder(tmp_path / "data"), read_splits(out / "vfd.csv")
    members = {split: [folder.metas[i] for i in where] for split, where in assign(folder.metas, lists).items()}
    real = {split: {meta.identities for meta in metas if not meta.label} for split, metas in members.items()}
    assert {split: len(identities) for split, identities in real.items()} == {"train": 3, "validation": 2, "test": 1}
    assert ("id1",) not in real["test"], "VoxCeleb2 is for matching"
    assert all(any(meta.label for meta in metas) for metas in members.values())
    left_out = list(csv.reader((out / "left_out.csv").open()))
    missing = "a face without a voice: DFDC/audio_feat/f4.npy is missing"
    assert left_out == [["list", "source", "reason"], ["vfd", "DFDC/fake/f4.jpg", missing]]
    assert json.loads((out / "split.json").read_text())["lists"]["vfd.csv"]["left_out"]["files that are no clips"] == 1
    alone = ["vfd", "--elements", str(tmp_path / "data" / "Voxceleb2"), "--out", str(tmp_path / "none")]
    with pytest.raises(UserError, match=r"no clip is left for validation; identities with real clips: 1, .* add clips"):
        make_splits.main(alone)
    assert not (tmp_path / "none").exists()
    make_splits.main(
        ["avdfd_7_3", "--elements", str(make_voxceleb(tmp_path / "more", "abcdefghijkl")), "--out", str(out)]
    )
    assert len(read_splits(out / "avdfd_7_3.csv").clips) == 24
