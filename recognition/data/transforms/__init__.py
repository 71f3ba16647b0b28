"""The steps from a clip's joints to the network's input, one pure function each; `clip_transforms` has their order."""
