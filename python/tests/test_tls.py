import pathlib
import shutil
import ssl
import subprocess
import tempfile
import unittest

from plumbline.errors import UnavailableError
from plumbline.feed import Feed
from tests.answering_server import AnsweringServer

SELF_SIGNED = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"


@unittest.skipIf(shutil.which("openssl") is None, "there is no openssl to make a certificate with")
class Tls(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.certificate = str(pathlib.Path(temporary.name, "feed.pem"))
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", self.certificate, "-out", f"{self.certificate}.cert"]
        subprocess.run(["openssl", *SELF_SIGNED.split(), *names, *files], check=True, capture_output=True)
        with open(self.certificate, "a") as both:
            both.write(pathlib.Path(f"{self.certificate}.cert").read_text())
        self.server = AnsweringServer(self.certificate)
        self.addCleanup(self.server.close)

    def call(self, large=False, **options):
        feed = Feed(self.server.url, "lab", patience=0.2, token="a-secret", **options)
        self.addCleanup(feed.close)
        return feed.call("GET", "", large=large)

    def test_a_certificate_that_is_not_trusted_gets_no_token_and_is_an_error_that_says_so(self):
        for large in (False, True):
            with self.assertLogs("plumbline"), self.assertRaisesRegex(UnavailableError, "CERTIFICATE_VERIFY_FAILED"):
                self.call(large)
        self.assertEqual(self.server.authorizations, [])

    def test_a_certificate_is_checked_against_a_file_or_a_context_or_not_at_all(self):
        trusted = f"{self.certificate}.cert"
        for verify in (trusted, pathlib.Path(trusted), ssl.create_default_context(cafile=trusted), False):
            for large in (False, True):
                self.assertEqual(self.call(large, verify=verify), {})
        self.assertEqual(self.server.authorizations, ["Bearer a-secret"] * 8)
