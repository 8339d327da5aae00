from keras_roots.reporting import Lines, Progress, duration


def test_lines_are_handed_on_now_and_then():
    seldom, always = [], []
    for found, seconds in ((seldom, 3600), (always, 0)):
        lines = Lines(found.append, seconds=seconds)
        for number in range(3):
            lines(str(number))
    assert (seldom, always) == ([], ["0", "1", "2"])


def test_progress_away_from_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    monkeypatch.setattr("keras_roots.reporting.progress._SECONDS_OF_UPDATES", 0)
    found = []
    for shown in (True, False):
        progress = Progress(3, "Epoch 1", shown=shown, report=found.append)
        for done in (1, 2, 3):
            progress.show(done, loss=1 / 3)
    assert found == [f"Epoch 1: {n}/3 updates, 0:00:00 left, loss 0.3333" for n in (1, 2)]


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 59.6, 3723)] == ["0:00:00", "0:01:00", "1:02:03"]
