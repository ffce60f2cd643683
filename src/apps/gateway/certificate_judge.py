"""Who a client's certificate says it is. TLS has verified the certificate itself: signatures, dates, purpose."""

from typing import Any

from apps.gateway.config_tls import CertificateAuth
from apps.gateway.judges import Judgement
from apps.gateway.jws import Refused


class CertificateJudge:
    def __init__(self, settings: CertificateAuth):
        self._settings = settings

    def judge(self, credential: bytes, now: float) -> Judgement:
        """credential: the certificate in DER. Raises Refused."""
        claims, expires = claims_of(credential)
        if now >= expires:  # it was good when the connection began
            raise Refused("expired")
        named = claims[self._settings.subject]
        subject = named[0] if isinstance(named, list) and named else named
        if not isinstance(subject, str) or not subject:
            raise Refused("claim", self._settings.subject)
        if self._settings.allowed and subject not in self._settings.allowed:
            raise Refused("unknown")
        return Judgement(subject, frozenset(), claims | {"sub": subject}, expires, jti=claims["fingerprint"])


def claims_of(der: bytes) -> tuple[dict[str, Any], float]:
    """What can be told of a certificate, and when it ends (seconds since 1970). Raises Refused."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    try:
        cert = x509.load_der_x509_certificate(der)
        names = [str(name.value) for name in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        try:
            other = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            other = x509.SubjectAlternativeName([])
        claims = {
            "cn": names[0] if len(names) == 1 else None,  # of several none is the one
            "dns": other.get_values_for_type(x509.DNSName),
            "uri": other.get_values_for_type(x509.UniformResourceIdentifier),
            "email": other.get_values_for_type(x509.RFC822Name),
            "dn": cert.subject.rfc4514_string(),
            "issuer": cert.issuer.rfc4514_string(),
            "serial": f"{cert.serial_number:x}",
            "fingerprint": cert.fingerprint(SHA256()).hex(),
        }
        return claims, cert.not_valid_after_utc.timestamp()
    except ValueError as error:
        raise Refused("malformed", str(error)) from None
