"""Joints are known by the names that many tools give them."""

import pytest
from skeletons import STYLES

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.motion.joint_names import match_joints

NAMES = {
    "CMU": "Hips LeftUpLeg LeftLeg LeftFoot LeftToeBase LeftShoulder LeftArm LeftForeArm LeftHand Neck Head",
    "CMU for DAZ": "hip lThigh lShin lFoot lToe lCollar lShldr lForeArm lHand neck head",
    "Poser, lower case": "hip lthigh lshin lfoot ltoe lcollar lshldr lforearm lhand neck head",
    "Biovision": "Hips LeftHip LeftKnee LeftAnkle LeftToe LeftCollar LeftShoulder LeftElbow LeftWrist Neck Head",
    "Motion Builder": "Character1_Hips Character1_LeftUpLeg Character1_LeftLeg Character1_LeftFoot "
    "Character1_LeftToeBase Character1_LeftShoulder Character1_LeftArm Character1_LeftForeArm Character1_LeftHand "
    "Character1_Neck Character1_Head",
    "Xsens": "Pelvis LeftUpperLeg LeftLowerLeg LeftFoot LeftToe LeftShoulder LeftUpperArm LeftForeArm LeftHand Neck "
    "Head",
    "Bandai": "Hips UpperLeg_L LowerLeg_L Foot_L Toes_L Shoulder_L UpperArm_L LowerArm_L Hand_L Neck Head",
    "Unreal": "pelvis thigh_l calf_l foot_l ball_l clavicle_l upperarm_l lowerarm_l hand_l neck_01 head",
    "Blender": "hips thigh.L shin.L foot.L toe.L shoulder.L upper_arm.L forearm.L hand.L neck head",
    "Rigify": "DEF-hips DEF-thigh.L DEF-shin.L DEF-foot.L DEF-toe.L DEF-shoulder.L DEF-upper_arm.L DEF-forearm.L "
    "DEF-hand.L DEF-neck DEF-head",
    "VRM": "hips leftUpperLeg leftLowerLeg leftFoot leftToes leftShoulder leftUpperArm leftLowerArm leftHand neck head",
    "VRoid": "J_Bip_C_Hips J_Bip_L_UpperLeg J_Bip_L_LowerLeg J_Bip_L_Foot J_Bip_L_ToeBase J_Bip_L_Shoulder "
    "J_Bip_L_UpperArm J_Bip_L_LowerArm J_Bip_L_Hand J_Bip_C_Neck J_Bip_C_Head",
    "Genesis": "pelvis lThighBend lShin lFoot lToe lCollar lShldrBend lForearmBend lHand neckLower head",
    "someone": "Bob_Hips Bob_LeftUpLeg Bob_LeftLeg Bob_LeftFoot Bob_LeftToeBase Bob_LeftShoulder Bob_LeftArm "
    "Bob_LeftForeArm Bob_LeftHand Bob_Neck Bob_Head",
    "Mixamo": "mixamorig1:Hips mixamorig1:LeftUpLeg mixamorig_LeftLeg mixamorigLeftFoot mixamorig:LeftToeBase "
    "mixamorig:LeftShoulder mixamorig:LeftArm mixamorig:LeftForeArm mixamorig:LeftHand mixamorig:Neck mixamorig:Head",
    "PHC": "Pelvis L_Hip L_Knee L_Ankle L_Toe L_Thorax L_Shoulder L_Elbow L_Wrist Neck Head",
}
ORDER = [f"left_{part}" for part in "hip knee ankle foot collar shoulder elbow wrist".split()]


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_many_tools_names_are_known(names):
    names = names.split()
    assert match_joints(tuple(names)) == {name: place for place, name in enumerate(["pelvis", *ORDER, "neck", "head"])}


def test_biped_has_spaces_in_its_names():
    parts = "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand".split()
    names = ["Bip01 Pelvis", *(f"Bip01 L {part}" for part in parts), "Bip01 Neck", "Bip01 Head"]
    assert match_joints(tuple(names)) == {name: place for place, name in enumerate(["pelvis", *ORDER, "neck", "head"])}


def test_smpl_names_are_smpls_joints():
    for style in STYLES.values():
        found = match_joints(tuple(style(name) for name in JOINT_NAMES))
        assert found == {name: place for place, name in enumerate(JOINT_NAMES) if "spine" not in name}


def test_cmus_hip_joint_is_no_thigh():
    assert match_joints(("Hips", "LHipJoint", "LeftUpLeg"))["left_hip"] == 2
