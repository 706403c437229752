"""How the ``tiny`` pair is made: corpus, tokenizer, training, distillation and measurement.

Nothing here is needed to *evaluate* a pair; it is the recipe behind ``pearl_eval/assets/tiny``.
"""
