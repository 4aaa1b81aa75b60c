"""FakeAVCeleb's table: files that are missing or listed twice, and tables written by other programs."""

from pathlib import Path

from tests.helpers.layouts import listed, touch


def test_fakeavceleb_with_missing_files_and_files_listed_twice(tmp_path):
    real = "RealVideo-RealAudio/African/men/id00076/00109.mp4"
    swap = "FakeVideo-FakeAudio/African/men/id00076/00109_id01661_xid99Monh-_4_id04547_wavtolip.mp4"
    gone = "FakeVideo-RealAudio/African/men/id00076/00109_id00166_wavtolip.mp4"
    touch(tmp_path, real, swap)
    (tmp_path / "meta_data.csv").write_text(
        "source,target1,target2,method,category,type,race,gender,path,\n"
        f"id00076,id01661,id04547,wav2lip,D,FakeVideo-FakeAudio,African,men,{Path(swap).name},"
        "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
        f"id00076,id01661,id07777,faceswap-wav2lip,D,FakeVideo-FakeAudio,African,men,{Path(swap).name},"
        "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
        f"id00076,id00166,-,wav2lip,C,FakeVideo-RealAudio,African,men,{Path(gone).name},"
        "FakeAVCeleb/FakeVideo-RealAudio/African/men/id00076\n"
    )
    entries = listed(tmp_path, "fakeavceleb")
    assert entries[swap].clip.identities == ("id00076", "id01661", "id04547", "id07777")
    assert entries[swap].clip.method == "wav2lip"
    assert entries[swap].clip.base == real
    assert entries[real].problem == entries[swap].problem == ""
    assert entries[gone].problem == "listed in meta_data.csv, but there is no such file"
    assert (entries[gone].clip.tier, entries[gone].clip.base) == ("FVRA", real)


def test_fakeavceleb_table_that_another_program_wrote_again(tmp_path):
    """pandas names the last column, and puts one of numbers without a name before the first."""
    row = (
        "id00076,-,-,real,A,RealVideo-RealAudio,Asian (East),men,1.mp4,FakeAVCeleb/RealVideo-RealAudio/Asian (East)/men"
    )
    touch(tmp_path, "RealVideo-RealAudio/Asian (East)/men/id00076/2.mp4")
    (tmp_path / "meta_data.csv").write_text(
        f",source,target1,target2,method,category,type,race,gender,path,Unnamed: 9\n0,{row}/id00076\n"
    )
    entries = listed(tmp_path, "fakeavceleb")
    gone = entries["RealVideo-RealAudio/Asian (East)/men/id00076/1.mp4"]
    assert (gone.clip.race, gone.problem) == ("Asian (East)", "listed in meta_data.csv, but there is no such file")
