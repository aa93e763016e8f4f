from ragloom.console import usage_line
from ragloom.types import Usage


def test_a_usage_line_says_what_share_of_the_prompts_was_read_before():
    usage = Usage(prompt_tokens=1000, completion_tokens=50, cached_tokens=970, calls=2)
    assert usage_line(usage) == "2 calls, 1050 tokens (97% of those sent read before), $0.0000"


def test_a_usage_line_says_nothing_of_a_cache_that_had_nothing():
    assert usage_line(Usage(10, 5, calls=1, cost=None)) == "1 call, 15 tokens, price unknown"
