"""Prints what TensorBoard's own reader finds below a directory, one line a point; usage: read_tensorboard.py DIR."""

import sys

from tensorboard.backend.event_processing import event_accumulator, io_wrapper
from tensorboard.plugins.hparams import metadata

everything = {kind: 0 for kind in ("compressedHistograms", "images", "audio", "scalars", "histograms", "tensors")}
for folder in sorted(io_wrapper.GetLogdirSubdirectories(sys.argv[1])):
    accumulator = event_accumulator.EventAccumulator(folder, size_guidance=everything)
    accumulator.Reload()
    tags = accumulator.Tags()
    print("version", accumulator.file_version)
    for tag in sorted(tags["scalars"]):
        for point in accumulator.Scalars(tag):
            print("scalar", tag, point.step, "%.9g" % point.value, "%.3f" % point.wall_time)
    for tag in sorted(tags["histograms"]):
        for point in accumulator.Histograms(tag):
            value = point.histogram_value
            print("histogram", tag, point.step, value.min, value.max, value.num, value.sum, value.sum_squares,
                  list(value.bucket_limit), list(value.bucket))
    for tag in sorted(tags["tensors"]):
        plugin = accumulator.SummaryMetadata(tag).plugin_data
        if plugin.plugin_name == "text":
            point = accumulator.Tensors(tag)[-1]
            print("text", tag, repr(point.tensor_proto.string_val[0].decode()))
        elif tag == metadata.SESSION_START_INFO_TAG:
            info = metadata.parse_session_start_info_plugin_data(plugin.content)
            for key in sorted(info.hparams):
                value = info.hparams[key]
                print("hparam", key, repr(getattr(value, value.WhichOneof("kind"))))
            print("group", info.group_name, "%.3f" % info.start_time_secs)
        elif tag == metadata.SESSION_END_INFO_TAG:
            print("status", metadata.parse_session_end_info_plugin_data(plugin.content).status)
        else:
            print("unknown", tag)
