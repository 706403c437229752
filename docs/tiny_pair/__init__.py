"""How the ``tiny`` pair is made: corpus, tokenizer, training, distillation and measurement.

It is the recipe behind ``pearl_eval/assets/tiny``, and no part of the installed package.
"""
