"""What Transformers makes of the images and the tiny model in a directory: pixels and beam search."""

import sys
from pathlib import Path

try:
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file
    from transformers import BlipForConditionalGeneration, BlipImageProcessor
except ImportError as absent:
    print(absent)
    sys.exit(77)

directory = Path(sys.argv[1])
model = BlipForConditionalGeneration.from_pretrained(directory).eval()
size = model.config.vision_config.image_size
processor = BlipImageProcessor(size={"height": size, "width": size})
images = [
    Image.fromarray(image.numpy()).convert("RGB")
    for _, image in sorted(load_file(directory / "images.safetensors").items())
]
pixels = processor(images=images, return_tensors="pt")["pixel_values"].contiguous()
expected = {"pixels": pixels}
# the last id is what the model drops before it begins
prompt = torch.tensor([[200, 4, 5, 2]] * len(images))
for beams, penalty in [(2, 1.0), (4, 1.0), (4, 0.2), (3, 2.0)]:
    with torch.no_grad():
        ids = model.generate(
            pixels, input_ids=prompt.clone(), max_length=20, num_beams=beams, length_penalty=penalty, do_sample=False
        )
    expected[f"beams_{beams}_{penalty:.1f}"] = ids.contiguous()
save_file(expected, directory / "expected.safetensors")
