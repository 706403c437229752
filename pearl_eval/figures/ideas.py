"""What decoders are called in pictures, and the idea of each."""

#: What a decoder is called, and its idea in a few words.
IDEAS = {
    "pearl": ("PEARL", "both models work at the same time"),
    "speculative": (
        "Vanilla speculative decoding",
        "the models take turns, one waits for the other",
    ),
    "autoregressive": (
        "Autoregressive decoding",
        "the target model alone, a forward for each token",
    ),
    "pearl_async": (
        "PEARL without a barrier",
        "the draft model runs on, the target judges what there is",
    ),
    "lookahead": (
        "Lookahead decoding",
        "the target guesses for itself, and judges the guesses in its next forward",
    ),
    "prompt_lookup": (
        "Prompt lookup",
        "what followed the same tokens before is the guess, no model drafts",
    ),
}
