"""The registered dataparsers. nerfstudio imports this while its own are half imported: no datamanager or model here."""

from __future__ import annotations

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.instant_avatar.data.surreal import SurrealDataParserConfig
from nerfstudio_avatars.nerfstudio_glue import patches
from nerfstudio_avatars.unsup_volanim.data.dataparsers import (
    ImageFoldersDataParserConfig,
    TedxPeopleDataParserConfig,
    VoxCelebDataParserConfig,
)

# Here, because nerfstudio asks for dataparsers before it imports the models that this is about.
patches.compile_when_called()

people_snapshot = DataParserSpecification(
    config=PeopleSnapshotDataParserConfig(),
    description="One person turning in front of a camera: PeopleSnapshot as distributed, or InstantAvatar's layout.",
)
surreal = DataParserSpecification(
    config=SurrealDataParserConfig(),
    description="One person in a clip of SURREAL as distributed: video, poses, body parts.",
)
voxceleb = DataParserSpecification(
    config=VoxCelebDataParserConfig(),
    description="Many clips of faces in VoxCeleb's layout, or any folder of clips of one kind of object.",
)
tedx_people = DataParserSpecification(
    config=TedxPeopleDataParserConfig(), description="Many clips of people talking: TED-talks and TEDXPeople."
)
image_folders = DataParserSpecification(
    config=ImageFoldersDataParserConfig(),
    description="Many pictures of one kind of object, such as cats, with one picture of each.",
)
