"""Presigned URLs with a signed length (AWS Signature Version 4, query parameters).

The SDK signs the host alone, so its URL takes a part of any size: a client with a quota of a
gigabyte could fill the store. With `content-length` among the signed headers the store itself
refuses a body of another length.
"""

import hashlib
import hmac
from datetime import datetime
from urllib.parse import quote, urlsplit

UNSIGNED_BODY = "UNSIGNED-PAYLOAD"


def presigned_put(
    url: str,
    *,
    length: int,
    region: str,
    access_key: str,
    secret_key: str,
    now: datetime,
    expires_s: int,
) -> str:
    """The URL, for one PUT of exactly `length` bytes until it expires.

    Source: AWS General Reference, "Create a signed AWS API request", with the signature among the
    query's parameters.

    Args:
        url: with its query, if any.
        length: of the body, in bytes.
        region: of the bucket.
        access_key: whose signature it is.
        secret_key: what signs; not in the result.
        now: UTC.
        expires_s: seconds from now.
    """
    parts = urlsplit(url)
    day, moment = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{day}/{region}/s3/aws4_request"
    signing = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": "content-length;host",
    }
    own = [f"{name}={quote(value, safe='-_.~')}" for name, value in signing.items()]
    query = "&".join(sorted([*filter(None, parts.query.split("&")), *own]))
    headers = f"content-length:{length}\nhost:{parts.netloc}\n"
    request = f"PUT\n{parts.path}\n{query}\n{headers}\ncontent-length;host\n{UNSIGNED_BODY}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret_key}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{query}&X-Amz-Signature={signature}"
