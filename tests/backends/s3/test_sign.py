"""Signatures, with botocore's as the oracle."""

from __future__ import annotations

import time
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from aiofs.backends.s3.signing import EMPTY, RequestSigner, encode_path, encode_query

ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
MOMENT = time.struct_time((2026, 5, 24, 1, 2, 3, 0, 144, 0))


def theirs(method: str, path: str, query: str, headers: dict[str, str]) -> str:
    """The signature that botocore makes."""
    url = f"https://{headers['host']}{path}"
    request = AWSRequest(method, f"{url}?{query}" if query else url, headers=headers)
    request.context["payload_signing_enabled"] = True
    auth = S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "eu-central-1")
    with mock.patch("botocore.auth.get_current_datetime") as now:
        now.return_value.strftime.side_effect = lambda form: time.strftime(form, MOMENT)
        auth.add_auth(request)
    return str(request.headers["Authorization"])


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
    key=texts,
    query=st.dictionaries(names, texts, max_size=4),
    metadata=st.dictionaries(names, values, max_size=3),
)
@example("PUT", "a b+c/ü~'()*!@$&,:;=%41.txt", {"partNumber": "1", "uploadId": "a+b/c=="}, {"x": "a  b   c"})
def test_botocore_signs_the_same(method: str, key: str, query: dict[str, str], metadata: dict[str, str]) -> None:
    headers = {
        "host": "bucket.s3.eu-central-1.amazonaws.com",
        "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", MOMENT),
        "x-amz-content-sha256": EMPTY,
        **{f"x-amz-meta-{name}": value for name, value in metadata.items()},
    }
    path, spelled = f"/{encode_path(key)}", encode_query(query)
    assert RequestSigner("eu-central-1").sign(method, path, spelled, headers, ACCESS, SECRET) == theirs(
        method, path, spelled, headers
    )


@pytest.mark.parametrize("other", [("20260525T000000Z", SECRET), ("20260524T000000Z", "another")])
def test_the_key_of_a_day_is_not_used_for_another(other: tuple[str, str]) -> None:
    headers = {"host": "h", "x-amz-date": "20260524T000000Z", "x-amz-content-sha256": EMPTY}
    signer = RequestSigner("r")
    first = signer.sign("GET", "/", "", headers, ACCESS, SECRET)
    changed = signer.sign("GET", "/", "", {**headers, "x-amz-date": other[0]}, ACCESS, other[1])
    fresh = RequestSigner("r").sign("GET", "/", "", {**headers, "x-amz-date": other[0]}, ACCESS, other[1])
    assert first != changed == fresh
    assert signer.sign("GET", "/", "", headers, ACCESS, SECRET) == first
