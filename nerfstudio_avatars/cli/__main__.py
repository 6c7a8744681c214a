"""`python -m nerfstudio_avatars.cli`: the same as `ns-avatar`."""

from nerfstudio_avatars.cli import main

if __name__ == "__main__":
    main()
