#!/opt/lanner/bin/python -I
"""Exit with 0 if the service in this container is ready, else print the reason and exit with 1.

    lanner-ready                                        the service, as its settings say
    lanner-ready http://127.0.0.1:8000/v2/health/ready  another address

The port and TLS are those of the environment and of the file of settings; options of `lanner serve`
are not known here. If clients must show a certificate (`tls_client_ca`), LANNER_READY_CERTIFICATE
names a PEM file with one, and LANNER_READY_KEY that of its key unless it is in the same file.
"""

import http.client
import os
import ssl
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 5.5


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else address()
    try:
        status = status_of(url)
    except OSError as error:  # ssl.SSLError is one
        sys.stdout.write(f"{url} does not answer: {error}\n")
        return 1
    if status != http.client.OK:
        sys.stdout.write(f"{url} answers {status}\n")
        return 1
    return 0


def address() -> str:
    """Return the address of the service by its settings."""
    file = os.environ.get("LANNER_SERVE_CONFIG")
    settings = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    settings = {name.replace("-", "_"): value for name, value in settings.items()}

    def setting(name: str) -> object:
        return os.environ.get(f"LANNER_SERVE_{name.upper()}", settings.get(name))

    scheme = "https" if setting("tls_certificate") else "http"
    return f"{scheme}://127.0.0.1:{setting('port') or 8080}/ready"


def status_of(url: str) -> int:
    """Return the status of an answer.

    Raises:
        OSError: There is none.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None  # noqa: S101
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # It is this container: nobody else can answer here, and the certificate has another name.
        context = ssl._create_unverified_context()  # noqa: S323
        if own := os.environ.get("LANNER_READY_CERTIFICATE"):
            context.load_cert_chain(own, os.environ.get("LANNER_READY_KEY"))
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
