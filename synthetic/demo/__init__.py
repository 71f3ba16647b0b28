"""`make demo`: the complete pipeline, from video to action, without videos or downloaded weights.

People are rendered (`synthetic.rendering`) and the networks are small ones from the package (`synthetic.networks`);
everything else is the code that users run.
"""
