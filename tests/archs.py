"""Random architectures for property tests."""

from hypothesis import strategies as st

from cmt_search.arch import POSITIONS, Arch, Stage


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    heads, head_dim = draw(st.integers(1, 8)), draw(st.integers(1, 40))
    return Stage(
        depth=draw(st.integers(1, 6)),
        width=heads * head_dim,
        heads=heads,
        kv_stride=draw(st.sampled_from([1, 2, 3, 4, 8])),
        mlp_ratio=draw(st.floats(1.0, 6.0)),
        qk_ratio=draw(st.just(1.0) | st.floats(1.01 / head_dim, 2)),  # one channel at least
    )


archs = st.builds(
    Arch,
    resolution=st.integers(1, 400),
    stem_width=st.integers(1, 64),
    stages=st.lists(stages(), min_size=1, max_size=5).map(tuple),
    stem_stride=st.integers(1, 4),
    neck_width=st.integers(1, 1500),
    position=st.sampled_from(POSITIONS),
    in_chans=st.integers(1, 4),
    num_classes=st.integers(0, 1000),
)
