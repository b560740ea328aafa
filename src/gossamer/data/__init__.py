"""Data sets for examples, tests and benchmarks: found locally first, checked always, downloaded last.

>>> from gossamer import data
>>> digits = data.load("digits")
>>> x_train, y_train, x_test, y_test = digits.tensors()
>>> len(list(data.batches(x_train, y_train, 64, data.epoch_generator(seed=0, epoch=0))))
23
"""

from gossamer.data.augment import crop_and_flip, step_generator
from gossamer.data.batches import batches, epoch_generator, part_of
from gossamer.data.dataset import Dataset, Provenance
from gossamer.data.folder import ImageFolder, image_folder, image_folders
from gossamer.data.formats import Arrays, Spec
from gossamer.data.graph import GraphDataset, GraphRecipe, graph_names, load_graph, register_graph
from gossamer.data.reading import training_images, validation_images
from gossamer.data.recipe import Embedded, Recipe, Remote
from gossamer.data.registry import names, recipe_of, recipes, register, unregister
from gossamer.data.search import best_available, load

__all__ = [
    "Arrays",
    "Dataset",
    "Embedded",
    "GraphDataset",
    "GraphRecipe",
    "ImageFolder",
    "Provenance",
    "Recipe",
    "Remote",
    "Spec",
    "batches",
    "best_available",
    "crop_and_flip",
    "epoch_generator",
    "graph_names",
    "image_folder",
    "image_folders",
    "load",
    "load_graph",
    "names",
    "part_of",
    "recipe_of",
    "recipes",
    "register",
    "register_graph",
    "step_generator",
    "training_images",
    "unregister",
    "validation_images",
]
