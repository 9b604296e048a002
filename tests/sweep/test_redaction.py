"""Passwords in anything that is said."""

import subprocess
import sys
import urllib.parse

import pytest

from sweep.command_line import Command
from sweep.judging.monitor import StabilityMonitor
from sweep.redaction import redacted, without_password

SECRET = "s3cret-w0rd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"http://me:{SECRET}@host:5000/x is down", "http://***@host:5000/x is down"),
        (f"'https://{SECRET}@host' is down", "'https://***@host' is down"),
        (f"redis://:{SECRET}@host:6379", "redis://***@host:6379"),
        (f"postgresql+psycopg2://me:{SECRET}@host/db", "postgresql+psycopg2://***@host/db"),
        (f"http://me:{SECRET}@more/@host", "http://***@host"),
        (f"mlflow=http:/me:{SECRET}@host", "mlflow=http:/***@host"),
        (f"HTTP://me:{SECRET}@HOST", "HTTP://***@HOST"),
        (f"postgresql://host/db?user=me&password={SECRET}&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        (f"GET /api?api_key={SECRET}", "GET /api?api_key=***"),
        (f"s3://bucket?AWS_SECRET_ACCESS_KEY={SECRET};x", "s3://bucket?AWS_SECRET_ACCESS_KEY=***;x"),
        (f"host=h password={SECRET} dbname=d", "host=h password=*** dbname=d"),
        ("write to me@example.org, see http://host/x", "write to me@example.org, see http://host/x"),
        ("C:/users/me@work/study.yaml", "C:/users/me@work/study.yaml"),
        ("results/x/study.yaml:3: pass=1", "results/x/study.yaml:3: pass=***"),
        ("MY_PASS=abc", "MY_PASS=***"),
        ("env 'MY_PASS=abc' and DB_PASSWORD=\"a b'c\" x", "env 'MY_PASS=***' and DB_PASSWORD=*** x"),
        ("http://me:a long 'pass\"word@host:5000/x is down", "http://***@host:5000/x is down"),
        ("http://me:1a b@host", "http://***@host"),
        ("Authorization: Bearer xyz", "Authorization: Bearer ***"),
        ("{'Authorization': 'Bearer xyz', 'Accept': '*/*'}", "{'Authorization': 'Bearer ***', 'Accept': '*/*'}"),
        ("proxy-authorization: basic bWU6cHc=\nAccept: */*", "proxy-authorization: basic ***\nAccept: */*"),
        ("authorization: xyz", "authorization: ***"),
        ("refused: bearer eyJhbGciOi.x-y_z", "refused: bearer ***"),
        ("http://host:5000 is down: write to me@host", "http://host:5000 is down: write to me@host"),
        ("http://host: refused, write to me@host", "http://host: refused, write to me@host"),
        ("a bearer of news", "a bearer of news"),
        (f"--notfy https://hooks.slack.com/services/{SECRET}", "--notfy https://hooks.slack.com/***"),
        ("with RAY_AUTH_MODE=token", "with RAY_AUTH_MODE=token"),
        ("the loss rose to 9.8", "the loss rose to 9.8"),
    ],
)
def test_addresses_are_told_without_their_passwords(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_password_is_hidden_apart_from_its_address_too() -> None:
    address = f"http://me:{urllib.parse.quote('p@ss/w?rd', safe='')}@host"
    for said in ("p@ss/w?rd", "p%40ss%2Fw%3Frd"):
        assert redacted(f"login failed with {said!r}", address) == "login failed with '***'"
    for said in ("a 'b\" c", "a+%27b%22+c", "a%20%27b%22%20c", "a \\'b\" c", "a 'b\\\" c"):
        assert redacted(f"login failed with <{said}>", "http://me:a 'b\" c@host") == "login failed with <***>"
    assert redacted("a plain word", "http://me:a@host") == "a plain word", "one letter is no secret"


@pytest.mark.parametrize(
    "name",
    ["WANDB_API_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_PASS", "PGPASSWORD"],
)
def test_secrets_of_the_environment_are_hidden(monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redacted(f"401 for {SECRET}!") == "401 for ***!"


@pytest.mark.parametrize("name", ["https_proxy", "HTTP_PROXY", "MLFLOW_TRACKING_URI", "DATABASE_URL"])
def test_so_are_passwords_in_addresses_of_the_environment(monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://me:{SECRET}@proxy:3128")
    assert redacted(f"407 for {SECRET}!") == "407 for ***!"


def test_settings_of_the_environment_are_no_secrets(monkeypatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "training")
    monkeypatch.setenv("SOME_TOKEN", "true")
    monkeypatch.setenv("PWD", "/home/me/studies")
    assert redacted("training in /home/me/studies is true") == "training in /home/me/studies is true"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://me:p%40ss@host:5000/x?y=1", ("http://host:5000/x?y=1", "me", "p@ss")),
        ("https://me:p@ss@[::1]:5000", ("https://[::1]:5000", "me", "p@ss")),
        ("http://host:5000", ("http://host:5000", "", "")),
        ("http://me@host", ("http://me@host", "", "")),
        ("http://:pw@host", ("http://:pw@host", "", "")),
    ],
)
def test_user_and_password_are_taken_out_of_an_address(address: str, expected: tuple[str, str, str]) -> None:
    assert without_password(address) == expected


def test_what_a_command_says_of_its_failure_is_redacted(capsys) -> None:
    def fail(_options: object) -> int:
        raise OSError(f"cannot connect to redis://:{SECRET}@host:6379")

    assert Command(name="fail", summary="", description="", work=fail).main([]) == 3
    assert capsys.readouterr().err.startswith("error: cannot connect to redis://***@host:6379")


def test_the_reason_of_a_crash_is_redacted(monkeypatch) -> None:
    monkeypatch.setenv("DATA_API_KEY", SECRET)
    error = RuntimeError(f"401 for {SECRET} at http://me:{SECRET}@host")
    assert "RuntimeError: 401 for *** at http://***@host" in StabilityMonitor().finish(crash=error).reason


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_lists_of_processes_show_no_password(tmp_path) -> None:
    """The study lacks most of its settings, which is found out after the command line was rewritten."""
    (tmp_path / "s.yaml").write_text("name: s")
    program = (
        "import sys\nfrom sweep.run import main\ncode = main(sys.argv[1:])\n"
        "print(open('/proc/self/cmdline').read().replace(chr(0), ' '))\nsys.exit(code)"
    )
    arguments = [str(tmp_path / "s.yaml"), "--log", f"mlflow=http://me:{SECRET}@127.0.0.1:9"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "model is missing" in done.stderr
    assert "mlflow=http://***@127.0.0.1:9" in done.stdout and SECRET not in done.stdout + done.stderr
