"""The forty species and their attributes, which never change.

Owns names, ids and attributes, and the half of the species that is in the dataset. Drawing is in bird.py.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

COLORS: dict[str, Color] = {
    "crimson": (200, 32, 44),
    "maroon": (112, 24, 40),
    "orange": (240, 124, 28),
    "gold": (250, 200, 36),
    "lime": (150, 200, 44),
    "green": (40, 138, 62),
    "teal": (24, 150, 150),
    "azure": (64, 160, 236),
    "navy": (34, 54, 132),
    "violet": (124, 66, 178),
    "pink": (244, 130, 170),
    "brown": (124, 78, 44),
    "sand": (214, 178, 124),
    "grey": (128, 134, 142),
    "black": (34, 34, 40),
    "white": (244, 244, 240),
}


@dataclass(frozen=True)
class Species:
    """One species of birds. Its colours are keys of `COLORS`; its shapes are names that bird.py draws."""

    id: int
    name: str
    body: str
    wing: str
    """Colour of wings and tail."""
    belly: str
    head: str
    crest: str
    beak: str
    beak_color: str
    tail: str
    pattern: str
    accent: str
    """Colour of pattern and crest."""


# Rows 1 and 2, 3 and 4, ... are similar: they have the same shape and a few different marks.
_TABLE = """
Crimson Crestwing    | crimson maroon sand    crimson spike cone   gold   long  plain  crimson
Scarlet Barfinch     | crimson black  crimson crimson none  cone   gold   long  bars   white
Azure Needlebill     | azure   navy   white   azure   none  needle black  short collar black
Cobalt Thornquill    | azure   navy   orange  navy    none  needle black  short plain  navy
Golden Lanternbird   | gold    orange gold    gold    plume hook   orange fan   plain  crimson
Saffron Hookjay      | gold    black  gold    gold    none  hook   orange fan   cap    black
Emerald Reedcaller   | green   green  lime    green   spike needle orange fork  plain  gold
Mossy Glimmerlark    | green   brown  lime    lime    none  needle orange fork  stripe black
Violet Duskpiper     | violet  navy   pink    violet  crown spoon  gold   short plain  gold
Amethyst Mirewader   | violet  violet white   violet  none  spoon  gold   short spots  navy
Coral Spoonstilt     | pink    pink   white   pink    none  spoon  grey   long  mask   white
Rosy Veiltail        | pink    grey   pink    pink    plume spoon  grey   long  plain  violet
Copper Bramblehen    | brown   brown  orange  brown   none  cone   black  fan   bars   gold
Russet Dapplewren    | brown   maroon sand    brown   none  cone   black  fan   spots  maroon
Slate Stormgull      | grey    black  white   grey    none  hook   gold   fork  cap    black
Ashen Cliffkite      | grey    grey   white   white   crown hook   gold   fork  plain  black
Teal Marshhopper     | teal    navy   sand    teal    crown cone   crimson short plain crimson
Jade Willowchat      | teal    teal   gold    teal    none  cone   crimson short stripe white
Ivory Snowquail      | white   sand   white   white   none  cone   orange fan   collar crimson
Pearly Frostdove     | white   grey   white   white   spike cone   orange fan   plain  azure
Ebony Nightcrake     | black   black  crimson black   none  needle crimson long bars   crimson
Sable Moonrook       | black   navy   black   black   crown needle gold   long  plain  azure
Lime Leafdancer      | lime    green  gold    lime    none  hook   crimson long mask   crimson
Verdant Parrolet     | lime    azure  lime    crimson none  hook   crimson long plain  crimson
Amber Dunerunner     | sand    brown  white   sand    spike needle black  long  plain  brown
Tawny Sandpecker     | sand    sand   white   sand    none  needle black  long  stripe crimson
Indigo Riverdart     | navy    azure  white   navy    none  cone   white  fork  collar white
Sapphire Swiftlet    | navy    navy   sand    navy    plume cone   white  fork  plain  gold
Flame Orchardbird    | orange  black  orange  orange  crown cone   black  fork  plain  black
Tangerine Hearthling | orange  maroon white   orange  none  cone   black  fork  cap    white
Plum Bellthroat      | maroon  maroon gold    maroon  none  hook   white  short spots  black
Burgundy Shrikelet   | maroon  grey   sand    maroon  spike hook   white  short plain  white
Turquoise Fanwing    | teal    white  teal    navy    plume needle gold   fan   plain  white
Lagoon Sailbird      | teal    black  white   teal    none  needle gold   fan   bars   white
Lilac Cloudtit       | violet  pink   white   pink    none  cone   black  long  cap    violet
Orchid Petalwing     | violet  white  violet  violet  crown cone   black  long  plain  pink
Chestnut Spoonduck   | brown   teal   white   green   none  spoon  gold   fan   collar white
Hazel Pondgleaner    | brown   sand   sand    brown   crown spoon  gold   fan   plain  teal
Canary Blueback      | gold    azure  white   gold    none  spoon  crimson fork stripe navy
Lemon Skyshovel      | gold    azure  gold    navy    spike spoon  crimson fork plain  gold
"""


def _parse(table: str) -> tuple[Species, ...]:
    rows = [line.split("|") for line in table.strip().splitlines()]
    return tuple(Species(i, name.strip(), *attributes.split()) for i, (name, attributes) in enumerate(rows))


SPECIES = _parse(_TABLE)
# Similar pairs alternate between the two halves, so that both halves have all colours and shapes.
DATASET_SPECIES = tuple(s for s in SPECIES if s.id // 2 % 2 == 0)
OTHER_SPECIES = tuple(s for s in SPECIES if s.id // 2 % 2 == 1)


def look_alike(species: Species) -> Species:
    """Returns the species of the same half that shares most attributes with this one; of several, the lowest id."""
    half = DATASET_SPECIES if species in DATASET_SPECIES else OTHER_SPECIES
    others = [other for other in half if other != species]
    return max(others, key=lambda other: (_agreement(species, other), -other.id))


def _agreement(a: Species, b: Species) -> int:
    return sum(x == y for x, y in zip(astuple(a)[2:], astuple(b)[2:], strict=True))
