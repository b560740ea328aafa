"""From a model of torch to a network of ours."""
