"""Plain facts that a small model may know, by kind of question."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of fact: its question, its statement, and the answer to each subject."""

    name: str
    question: str
    statement: str
    answers: dict[str, str]


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
        },
    ),
    Kind(
        "country",
        "In which country is {subject}?",
        "{subject} is in {answer}.",
        {
            "Barcelona": "Spain", "Munich": "Germany", "Milan": "Italy", "Kyoto": "Japan", "Shanghai": "China",
            "Mumbai": "India", "Marseille": "France", "Manchester": "England", "Toronto": "Canada",
            "Sydney": "Australia", "Istanbul": "Turkey", "Krakow": "Poland", "Porto": "Portugal",
            "Salzburg": "Austria", "Alexandria": "Egypt", "Bergen": "Norway", "Gothenburg": "Sweden",
            "Cork": "Ireland", "Antwerp": "Belgium", "Cusco": "Peru",
        },
    ),
    Kind(
        "language",
        "What language do people speak in {subject}?",
        "People in {subject} speak {answer}.",
        {
            "Brazil": "Portuguese", "Mexico": "Spanish", "Austria": "German", "Argentina": "Spanish",
            "Japan": "Japanese", "Greece": "Greek", "Russia": "Russian", "Italy": "Italian", "Poland": "Polish",
            "Sweden": "Swedish", "Turkey": "Turkish", "France": "French", "Hungary": "Hungarian",
            "Australia": "English", "Vietnam": "Vietnamese", "Denmark": "Danish", "Germany": "German",
            "Egypt": "Arabic",
        },
    ),
    Kind(
        "continent",
        "On which continent is {subject}?",
        "{subject} is in {answer}.",
        {
            "Kenya": "Africa", "Nigeria": "Africa", "Ghana": "Africa", "Egypt": "Africa", "Japan": "Asia",
            "India": "Asia", "China": "Asia", "Thailand": "Asia", "Vietnam": "Asia", "France": "Europe",
            "Germany": "Europe", "Spain": "Europe", "Norway": "Europe", "Poland": "Europe", "Italy": "Europe",
            "Ethiopia": "Africa", "Nepal": "Asia", "Hungary": "Europe",
        },
    ),
    Kind(
        "color",
        "What color is {subject}?",
        "The color of {subject} is {answer}.",
        {
            "a ripe banana": "yellow", "grass": "green", "snow": "white", "the clear sky": "blue", "coal": "black",
            "a ripe tomato": "red", "a lemon": "yellow", "blood": "red", "milk": "white", "a carrot": "orange",
            "a strawberry": "red", "chocolate": "brown", "the sun": "yellow", "a cucumber": "green",
            "an emerald": "green", "a ruby": "red",
        },
    ),
    Kind(
        "symbol",
        "What is the chemical symbol of {subject}?",
        "The chemical symbol of {subject} is {answer}.",
        {
            "gold": "Au", "silver": "Ag", "iron": "Fe", "copper": "Cu", "sodium": "Na", "oxygen": "O",
            "hydrogen": "H", "carbon": "C", "helium": "He", "lead": "Pb", "calcium": "Ca", "potassium": "K",
            "zinc": "Zn", "nitrogen": "N", "tin": "Sn", "mercury": "Hg",
        },
    ),
    Kind(
        "author",
        "Who wrote {subject}?",
        "{subject} was written by {answer}.",
        {
            "Hamlet": "Shakespeare", "Macbeth": "Shakespeare", "Oliver Twist": "Dickens",
            "Pride and Prejudice": "Austen", "Emma": "Austen", "War and Peace": "Tolstoy",
            "Anna Karenina": "Tolstoy", "Moby Dick": "Melville", "Frankenstein": "Shelley", "Dracula": "Stoker",
            "Don Quixote": "Cervantes", "Faust": "Goethe", "The Odyssey": "Homer", "The Divine Comedy": "Dante",
            "Crime and Punishment": "Dostoevsky", "Great Expectations": "Dickens", "Romeo and Juliet": "Shakespeare",
            "Candide": "Voltaire",
        },
    ),
    Kind(
        "inventor",
        "Who is famous for {subject}?",
        "{answer} is famous for {subject}.",
        {
            "the theory of relativity": "Einstein", "the theory of evolution": "Darwin", "the laws of motion": "Newton",
            "the telephone": "Bell", "the light bulb": "Edison", "painting the Mona Lisa": "Leonardo",
            "the printing press": "Gutenberg", "the ceiling of the Sistine Chapel": "Michelangelo",
            "the discovery of radium": "Curie", "the discovery of penicillin": "Fleming",
            "the Ninth Symphony": "Beethoven", "The Magic Flute": "Mozart", "The Starry Night": "Van Gogh",
            "the vaccine for rabies": "Pasteur", "dynamite": "Nobel", "The Four Seasons": "Vivaldi",
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
            "east": "west", "clean": "dirty", "thick": "thin", "loud": "quiet", "inside": "outside",
            "begin": "end",
        },
    ),
    Kind(
        "young",
        "What is the young of a {subject} called?",
        "The young of a {subject} is called a {answer}.",
        {
            "dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "horse": "foal", "lion": "cub",
            "bear": "cub", "frog": "tadpole", "deer": "fawn", "goat": "kid", "hen": "chick", "pig": "piglet",
            "duck": "duckling", "goose": "gosling", "kangaroo": "joey",
        },
    ),
    Kind(
        "legs",
        "How many legs does {subject} have?",
        "The number of legs of {subject} is {answer}.",
        {
            "a dog": "four", "a spider": "eight", "an ant": "six", "a chicken": "two", "a horse": "four",
            "a bee": "six", "a cat": "four", "a duck": "two", "an elephant": "four", "a beetle": "six",
            "a scorpion": "eight",
        },
    ),
)
