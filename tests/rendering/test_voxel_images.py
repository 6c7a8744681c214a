import torch

from nerfstudio_avatars.rendering.voxel_images import as_images, part_colours
from nerfstudio_avatars.rendering.voxel_render import VoxelPictures


def piece(rays, opacity, depth):
    shares = torch.tensor([opacity, 0.0]).expand(1, rays, 2)
    colour, normals = torch.full((1, rays, 3), 1.5), torch.tensor([0.0, 0.0, -2.0]).expand(1, rays, 3)
    return VoxelPictures(
        colour,
        torch.full((1, rays), opacity),
        torch.full((1, rays), opacity * depth),
        shares,
        normals,
        torch.zeros(1, 2),
    )


def test_pieces_become_one_image_with_a_depth_where_it_is_solid():
    images = as_images([piece(3, 0.8, -0.25), piece(3, 0.1, 9.0)], middle=10.0, height=2, width=3)
    assert {name: tuple(image.shape) for name, image in images.items()} == {
        "rgb": (2, 3, 3), "accumulation": (2, 3, 1), "depth": (2, 3, 1), "normal": (2, 3, 3), "parts": (2, 3, 3),
        "part_shares": (2, 3, 2),
    }  # fmt: skip
    torch.testing.assert_close(images["depth"][:, 0, 0], torch.tensor([9.75, 11.0]))
    torch.testing.assert_close(images["normal"][:, 0], torch.tensor([[0.5, 0.5, 0.0], [1.0, 1.0, 1.0]]))
    torch.testing.assert_close(images["parts"][0, 0], 0.8 * part_colours(2)[0])
    assert images["rgb"].max() == 1


def test_every_part_has_a_colour_of_its_own():
    colours = part_colours(6)
    assert ((colours[:, None] - colours).abs().sum(-1) + torch.eye(6) > 0.3).all()
    assert part_colours(1).shape == (1, 3)
