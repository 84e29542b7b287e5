"""Write a CSV to learn from: `python generate.py ROWS FILE`; 16 numbers, 4 categories, a target."""

import sys

import numpy as np
import pandas as pd

rows, path = int(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(0)
numbers = random.normal(size=(rows, 16))
categories = random.integers(0, 6, size=(rows, 4))
score = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + 0.5 * categories[:, 0] - 1.25
table = pd.DataFrame(numbers.round(6), columns=[f"number_{i}" for i in range(16)])
for i in range(4):
    table[f"category_{i}"] = np.array(["a", "b", "c", "d", "e", "f"])[categories[:, i]]
table["target"] = np.where(score + random.normal(size=rows) > 0, "yes", "no")
table.to_csv(path, index=False)
