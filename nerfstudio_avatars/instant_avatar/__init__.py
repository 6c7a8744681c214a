"""InstantAvatar (Jiang et al. 2023): a person, learnt from one video, in any pose."""
