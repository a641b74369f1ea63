"""Image marks: XMP metadata in a generated image that states that a model made it.

Owns the properties and their bytes. A mark is equal for all images of a run. It contains no time, no version of a
program and no row, so that equal runs give equal bytes. images.py writes a mark into a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from diffcore_hf.core.terminal_text import visible

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Vocabulary of digital source types of the IPTC (International Press Telecommunications Council)."""
GENERATED, MIXED = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
"""Terms of the vocabulary: an image that a trained model made, and an image that was mixed with such an image."""
IPTC, OWN = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "urn:diffcore-hf:xmp:1:"
"""Namespaces of the properties of the IPTC and of this project."""
_LONGEST = 500
"""Longest value in characters. A block of XMP in a JPEG file has at most 64 KB."""


@dataclass(frozen=True)
class ImageMark:
    """The values that the mark of an image states."""

    system: str | None = None
    """Public name of the model, or `local:<16 hex>`; None: the strategy uses no model."""
    version: str | None = None
    """Commit or content hash of the model."""
    attempt_digest: str | None = None
    """Digest of the settings of the run; None: the image was made outside a run."""
    source_type: str = GENERATED
    """A term of SOURCE_TYPES."""

    def packet(self) -> bytes:
        """Return the XMP packet as ASCII. Equal marks give equal bytes."""
        properties = {
            "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + self.source_type,
            "Iptc4xmpExt:AISystemUsed": self.system,
            "Iptc4xmpExt:AISystemVersionUsed": self.version,
            "diffcore:AttemptDigest": self.attempt_digest,
        }
        attributes = "".join(
            f"\n   {name}={quoteattr(_xml_text(value[:_LONGEST]))}" for name, value in properties.items() if value
        )
        packet = (
            '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
            ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
            '  <rdf:Description rdf:about=""\n'
            f'   xmlns:Iptc4xmpExt="{IPTC}"\n'
            f'   xmlns:diffcore="{OWN}"{attributes}/>\n'
            " </rdf:RDF>\n"
            "</x:xmpmeta>\n"
            '<?xpacket end="r"?>'
        )
        return packet.encode("ascii", "xmlcharrefreplace")


def _xml_text(text: str) -> str:
    """Return a text in which the characters that XML 1.0 does not allow are escaped."""
    return visible(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
