package kube

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// maxVolData bounds a vol_data.json; real ones have some 300 bytes.
const maxVolData = 64 << 10

// ParseVolData reads a vol_data.json, the file of the kubelet's CSI plugin that
// names the PV (specVolID), driver and volume handle. Path is left empty.
func ParseVolData(data []byte) (facts.VolumeData, error) {
	if len(data) > maxVolData {
		return facts.VolumeData{}, fmt.Errorf("vol_data.json of %d bytes, more than %d", len(data), maxVolData)
	}
	// Only the file's own fields: Path and Err must not come from its text.
	var v struct {
		DriverName          string `json:"driverName"`
		SpecVolID           string `json:"specVolID"`
		VolumeHandle        string `json:"volumeHandle"`
		AttachmentID        string `json:"attachmentID"`
		NodeName            string `json:"nodeName"`
		VolumeLifecycleMode string `json:"volumeLifecycleMode"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return facts.VolumeData{}, fmt.Errorf("vol_data.json: %w", err)
	}
	if v.DriverName == "" && v.VolumeHandle == "" && v.SpecVolID == "" {
		return facts.VolumeData{}, errors.New("vol_data.json without driverName, volumeHandle and specVolID")
	}
	return facts.VolumeData{
		DriverName: v.DriverName, SpecVolID: v.SpecVolID, VolumeHandle: v.VolumeHandle,
		AttachmentID: v.AttachmentID, NodeName: v.NodeName, VolumeLifecycleMode: v.VolumeLifecycleMode,
	}, nil
}

// Describes tells whether v is the vol_data.json of the volume r: by its place,
// or for a global mount by the hash of the handle.
func (r VolumeRef) Describes(v facts.VolumeData) bool {
	if v.Err != "" {
		return false
	}
	if v.Path != "" && v.Path == r.VolDataPath {
		return true
	}
	return r.HandleSHA256 != "" && r.Driver == v.DriverName && hashOf(v.VolumeHandle) == r.HandleSHA256
}
