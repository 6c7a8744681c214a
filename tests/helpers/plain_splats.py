"""The specification of pictures of splats: every splat at every pixel, in plain torch, differentiated by torch."""

import torch


def plain_picture(centres, axes, opacities, colours, camera):
    """Premultiplied colours and coverage, (height, width, 4)."""
    pose = camera.camera_to_worlds.reshape(3, 4).to(centres)
    seen = (centres - pose[:, 3]) @ pose[:, :3] * torch.tensor([1, -1, -1]).to(centres)
    fx, fy, cx, cy = (float(one) for one in (camera.fx, camera.fy, camera.cx, camera.cy))
    x, y, z = seen.unbind(-1)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [torch.stack([fx / z, zero, -fx * x / z**2], -1), torch.stack([zero, fy / z, -fy * y / z**2], -1)], 1
    )
    turned = (pose[:, :3] * torch.tensor([1, -1, -1]).to(centres)).T
    covariance = jacobian @ turned @ axes @ axes.mT @ turned.T @ jacobian.mT
    blurred = covariance + 0.3 * torch.eye(2).to(centres)
    opacities = opacities * (torch.linalg.det(covariance) / torch.linalg.det(blurred)).sqrt()
    rows, columns = torch.meshgrid(torch.arange(int(camera.height)), torch.arange(int(camera.width)), indexing="ij")
    pixels = torch.stack([columns, rows], -1).to(centres) + 0.5
    away = pixels[:, :, None] - torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    distance = (away * (torch.linalg.inv(blurred) @ away[..., None])[..., 0]).sum(-1)
    alpha = (opacities * torch.exp(-distance / 2)).clamp(max=0.99)
    alpha = torch.where((distance > 8) | (alpha < 0.5 / 255) | (z < 0.05), 0, alpha)
    order = z.argsort()
    alpha, colours = alpha[..., order], colours[order]
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha], -1), -1)
    share = light[..., :-1] * alpha
    return torch.cat([share @ colours, share.sum(-1, keepdim=True)], -1)
