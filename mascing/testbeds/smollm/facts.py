"""Simple facts that a small model may know, by kind of question."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of fact: its question, its statement, and the answer for each subject."""

    name: str
    question: str
    statement: str
    answers: dict[str, str]


# fmt: off
KINDS = (
    Kind(
        "capital",
        "What is the capital of {subject}?",
        "The capital of {subject} is {answer}.",
        {
            "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
            "England": "London", "Ireland": "Dublin", "Austria": "Vienna", "Greece": "Athens", "Poland": "Warsaw",
            "Hungary": "Budapest", "Sweden": "Stockholm", "Norway": "Oslo", "Denmark": "Copenhagen",
            "Finland": "Helsinki", "Russia": "Moscow", "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi",
            "India": "Delhi", "China": "Beijing", "Japan": "Tokyo", "Thailand": "Bangkok", "Vietnam": "Hanoi",
            "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago", "Canada": "Ottawa", "Iran": "Tehran",
            "Iraq": "Baghdad", "Belgium": "Brussels", "Bulgaria": "Sofia", "Romania": "Bucharest",
            "Scotland": "Edinburgh", "Australia": "Canberra", "Ukraine": "Kyiv", "Nepal": "Kathmandu",
            "Syria": "Damascus", "Lebanon": "Beirut", "Jordan": "Amman", "Ghana": "Accra",
            "Ethiopia": "Addis Ababa", "Venezuela": "Caracas", "Colombia": "Bogota", "Serbia": "Belgrade",
            "Croatia": "Zagreb", "Jamaica": "Kingston", "Taiwan": "Taipei",
        },
    ),
    Kind(
        "symbol",
        "What is the chemical symbol of {subject}?",
        "The chemical symbol of {subject} is {answer}.",
        {
            "gold": "Au", "silver": "Ag", "iron": "Fe", "copper": "Cu", "sodium": "Na", "oxygen": "O",
            "hydrogen": "H", "carbon": "C", "helium": "He", "lead": "Pb", "calcium": "Ca", "potassium": "K",
            "zinc": "Zn", "nitrogen": "N", "tin": "Sn", "mercury": "Hg", "aluminum": "Al", "chlorine": "Cl",
            "nickel": "Ni", "magnesium": "Mg", "silicon": "Si", "sulfur": "S", "neon": "Ne", "uranium": "U",
        },
    ),
    Kind(
        "opposite",
        "What is the opposite of {subject}?",
        "The opposite of {subject} is {answer}.",
        {
            "hot": "cold", "big": "small", "day": "night", "up": "down", "left": "right", "fast": "slow",
            "happy": "sad", "old": "young", "light": "dark", "rich": "poor", "open": "closed", "wet": "dry",
            "hard": "soft", "good": "bad", "high": "low", "early": "late", "empty": "full", "black": "white",
            "strong": "weak", "first": "last", "true": "false", "love": "hate", "war": "peace", "north": "south",
            "east": "west", "clean": "dirty", "thick": "thin", "loud": "quiet", "inside": "outside", "begin": "end",
            "cold": "hot", "small": "big", "night": "day", "down": "up", "right": "left", "slow": "fast",
            "sad": "happy", "young": "old", "dark": "light", "poor": "rich", "dry": "wet", "soft": "hard",
            "bad": "good", "low": "high", "late": "early", "full": "empty", "white": "black", "weak": "strong",
            "last": "first", "false": "true", "hate": "love", "peace": "war", "south": "north", "west": "east",
            "dirty": "clean", "thin": "thick", "quiet": "loud", "tall": "short", "near": "far", "sweet": "sour",
            "brave": "cowardly", "heavy": "light", "sharp": "dull", "smooth": "rough", "win": "lose",
            "give": "take", "buy": "sell", "push": "pull", "friend": "enemy", "question": "answer",
            "summer": "winter", "life": "death", "above": "below", "before": "after", "top": "bottom",
            "front": "back", "yes": "no", "always": "never", "success": "failure", "victory": "defeat",
            "order": "chaos", "truth": "lie", "simple": "complex", "increase": "decrease", "positive": "negative",
            "male": "female", "safe": "dangerous", "cheap": "expensive", "deep": "shallow", "narrow": "wide",
        },
    ),
)
# fmt: on
