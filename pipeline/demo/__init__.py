"""`make demo`: the whole way, from video to action, where neither a video nor weights can be had.

Its people are drawn (`pipeline.rendering`) and its networks are small ones that come with the package
(`pipeline.tiny`); everything else is what users run.
"""
