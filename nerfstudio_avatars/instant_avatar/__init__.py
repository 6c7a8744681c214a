"""InstantAvatar (Jiang et al. 2023): one person, learnt from a video, in any pose."""
