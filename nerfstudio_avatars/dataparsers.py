"""The registered dataparsers. nerfstudio loads this while its own are half imported: no datamanager or model here."""

from __future__ import annotations

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_avatars.data.dataparsers.people_snapshot import PeopleSnapshotDataParserConfig

people_snapshot = DataParserSpecification(
    config=PeopleSnapshotDataParserConfig(),
    description="One person turning before a camera: PeopleSnapshot as distributed, or InstantAvatar's layout.",
)
