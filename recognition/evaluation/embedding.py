"""Two-dimensional embeddings of features (t-SNE)."""

import numpy as np


def embed(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Embed features (N, D) in the plane (N, 2) by t-SNE, deterministically; distances of clusters mean little."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    clips = len(features)
    if clips < 4:
        # Too few clips for neighbourhoods; place them in a row.
        return np.stack([np.arange(clips, dtype=np.float64), np.zeros(clips)], axis=1)
    components = min(50, clips - 1, features.shape[1])
    reduced = PCA(components, random_state=seed).fit_transform(np.asarray(features, np.float64))
    # Perplexity is a number of neighbours and must stay well below the number of clips.
    return TSNE(perplexity=min(30.0, (clips - 1) / 3), init="pca", random_state=seed).fit_transform(reduced)
