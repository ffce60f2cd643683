"""Judges of tokens for tests, and their verdicts in one word."""

from typing import Any

from tokens import AUDIENCE, ISSUER, NOW, SECRET

from apps.gateway import jwk as keys
from apps.gateway.config_auth import Jwt
from apps.gateway.judges import Judgement, JwtJudge, KeysNeeded, StaticKeys
from apps.gateway.jws import Refused


def judge(*known: keys.Key, **settings: Any) -> JwtJudge:
    known = known or (keys.from_secret(SECRET, "HS256"),)
    return JwtJudge(Jwt(issuer=ISSUER, **{"audience": AUDIENCE, **settings}), StaticKeys(keys.KeySet(known)))


def reason(credential: bytes, by: JwtJudge | None = None, now: float = NOW) -> str:
    try:
        (by or judge()).judge(credential, now)
    except Refused as refused:
        return refused.reason
    except KeysNeeded:
        return "keys needed"
    return "ok"


def accepted(credential: bytes, by: JwtJudge | None = None) -> Judgement:
    return (by or judge()).judge(credential, NOW)
