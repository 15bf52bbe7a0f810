"""The testbed's tokenizer: one token per word, with a chat template."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from mascing.testbeds.planted.language import WORDS
from mascing.testbeds.planted.levels import Level

PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|> ' + message['content'] + ' <|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer(level: Level, max_tokens: int) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer over the testbed's words that ``AutoTokenizer`` can load."""
    tokenizer = Tokenizer(WordLevel(vocabulary(level), unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=max_tokens,
        padding_side="right",
    )


def vocabulary(level: Level) -> dict[str, int]:
    """Return the token id of every word and special token of a level."""
    words = dict.fromkeys((*SPECIALS, *WORDS, *level.extra_words))
    return {word: index for index, word in enumerate(words)}
