"The command in torch's deterministic mode and without dropout: what is left of chance does not depend on how many processes share a run."

import torch
from torch import nn

from lora_da_bench import datasets
from lora_da_bench.cli import main

datasets.streetscenes.__defaults__ = 16, 12, 6   # frames of source, target and held out: what is compared is the same for few

torch.use_deterministic_algorithms(True)
nn.Dropout2d.forward = lambda self, images: images
main()
