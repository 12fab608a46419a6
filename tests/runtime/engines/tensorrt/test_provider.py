from lanner.artifact.engine_build import Profile
from lanner.engines.tensorrt.provider import provider_options


def test_every_input_has_the_three_shapes_of_the_profile() -> None:
    profile = Profile((1, 16), (8, 64), (32, 128))
    assert provider_options(["input_ids", "attention_mask"], profile, "/cache") == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/cache",
        "trt_profile_min_shapes": "input_ids:1x16,attention_mask:1x16",
        "trt_profile_opt_shapes": "input_ids:8x64,attention_mask:8x64",
        "trt_profile_max_shapes": "input_ids:32x128,attention_mask:32x128",
    }
